"""Methods: one LightningModule a file, over a base class that holds what all share."""

from pmnar.methods.active_bias import ActiveBias
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.co_teaching import CoTeaching, CoTeachingPlus
from pmnar.methods.decoupling import Decoupling
from pmnar.methods.disc import DISC
from pmnar.methods.dividemix import DivideMix
from pmnar.methods.elr import ELR, ELRPlus
from pmnar.methods.jnpl import JNPL
from pmnar.methods.jocor import JoCoR
from pmnar.methods.knn import KNN
from pmnar.methods.l2rw import L2RW
from pmnar.methods.linear_probe import LinearProbe
from pmnar.methods.loss_correction import LossCorrection
from pmnar.methods.m_correction import MCorrection
from pmnar.methods.mentornet import MentorNetPD
from pmnar.methods.mentornet_dd import MentorNetDD
from pmnar.methods.meta_weight_net import MetaWeightNet
from pmnar.methods.mixup import MixUp
from pmnar.methods.moit import MOIT
from pmnar.methods.moit_plus import MOITPlus
from pmnar.methods.nct import NCT
from pmnar.methods.nlnl import NLNL
from pmnar.methods.noise_adaptation import NoiseAdaptation
from pmnar.methods.o2u import O2U
from pmnar.methods.plain import Plain
from pmnar.methods.pmnar import PMNAR
from pmnar.methods.setting import Setting
from pmnar.methods.sop import SOP
from pmnar.methods.ssr import SSR, SSRPlus
from pmnar.methods.truncated_gce import TruncatedGCE
from pmnar.methods.unicon import UNICON
from pmnar.methods.webly import Webly

__all__ = [
    "DISC",
    "ELR",
    "JNPL",
    "KNN",
    "L2RW",
    "MOIT",
    "NCT",
    "NLNL",
    "O2U",
    "PMNAR",
    "SOP",
    "SSR",
    "UNICON",
    "ActiveBias",
    "CoTeaching",
    "CoTeachingPlus",
    "Decoupling",
    "DivideMix",
    "ELRPlus",
    "JoCoR",
    "LinearProbe",
    "LossCorrection",
    "MCorrection",
    "MOITPlus",
    "MentorNetDD",
    "MentorNetPD",
    "MetaWeightNet",
    "MixUp",
    "NoiseAdaptation",
    "NoisyLabelMethod",
    "Plain",
    "SSRPlus",
    "Setting",
    "TruncatedGCE",
    "Webly",
]

"""What is Co-teaching's own."""

from toy import TinyNet, make_data, make_setting

from pmnar.methods import CoTeaching


def test_it_says_which_noise_rate_it_goes_by() -> None:
    told = CoTeaching(make_setting(make_data(), TinyNet), forget_rate=0.45).advice(10)
    assert "45.0% of each batch" in told
    assert "method.forget_rate" in told

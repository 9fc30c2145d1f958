"""Show or empty the cache of decoded images: `python -m src.cache [clear]`."""

from pmnar.data.sources.cache_folder import main

if __name__ == "__main__":
    main()

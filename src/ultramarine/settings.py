"""The settings of an installation, from variables named `ULTRAMARINE_…`. The only reader of the environment.

`docs/reference/settings.md` is made of this file: `python tools/write_settings_reference.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SizeSetting(BaseModel):
    """How much of a machine a node of this size is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float = Field(gt=0, description="CPUs (logical cores).")
    memory_gib: float = Field(gt=0, description="Memory in GiB (1024³ bytes).")
    gpus: int = Field(default=0, ge=0, description="Whole GPUs.")


SIZES: Mapping[str, SizeSetting] = MappingProxyType(
    {
        "cpu-1": SizeSetting(cpus=1, memory_gib=2),
        "cpu-2": SizeSetting(cpus=2, memory_gib=4),
        "cpu-4": SizeSetting(cpus=4, memory_gib=8),
        "cpu-8": SizeSetting(cpus=8, memory_gib=16),
        "cpu-16": SizeSetting(cpus=16, memory_gib=32),
        "gpu-1": SizeSetting(cpus=4, memory_gib=16, gpus=1),
        "gpu-2": SizeSetting(cpus=8, memory_gib=32, gpus=2),
        "gpu-4": SizeSetting(cpus=16, memory_gib=64, gpus=4),
        "gpu-8": SizeSetting(cpus=32, memory_gib=128, gpus=8),
    }
)

# Azure's names by the size that has as many CPUs, or as many GPUs. They mean "up to": see domain/size.py.
_ALIASES_OF: Mapping[str, str] = {
    "cpu-1": "DS1_V2 D1_V2 A1_V2 F1S",
    "cpu-2": "DS2_V2 D2_V2 A2_V2 DS11_V2 D2_V3 D2S_V3 D2S_V4 D2S_V5 D2AS_V4 D2AS_V5 D2DS_V4 E2S_V3 E2S_V5 F2S_V2",
    "cpu-4": "DS3_V2 D3_V2 A4_V2 DS12_V2 D4_V3 D4S_V3 D4S_V4 D4S_V5 D4AS_V4 D4AS_V5 D4DS_V4 E4S_V3 E4S_V5 F4S_V2",
    "cpu-8": "DS4_V2 D4_V2 A8_V2 DS13_V2 D8_V3 D8S_V3 D8S_V4 D8S_V5 D8AS_V4 D8AS_V5 D8DS_V4 E8S_V3 E8S_V5 F8S_V2",
    "cpu-16": "DS5_V2 D5_V2 DS14_V2 D16_V3 D16S_V3 D16S_V4 D16S_V5 D16AS_V4 D16AS_V5 D16DS_V4 E16S_V3 E16S_V5 F16S_V2",
    "gpu-1": "NC6 NC6S_V2 NC6S_V3 NC4AS_T4_V3 NC8AS_T4_V3 NC16AS_T4_V3 NV36ADS_A10_V5 NC24ADS_A100_V4 NC40ADS_H100_V5",
    "gpu-2": "NC12 NC12S_V2 NC12S_V3 NV72ADS_A10_V5 NC48ADS_A100_V4 NC80ADIS_H100_V5",
    "gpu-4": "NC24 NC24S_V2 NC24S_V3 NC24RS_V3 NC64AS_T4_V3 NC96ADS_A100_V4",
    "gpu-8": "ND40RS_V2 ND96ASR_V4 ND96AMSR_A100_V4 ND96ISR_H100_V5",
}
SIZE_ALIASES: Mapping[str, str] = MappingProxyType(
    {f"STANDARD_{alias}": size for size, aliases in _ALIASES_OF.items() for alias in aliases.split()}
)


def default_home() -> Path:
    return platformdirs.user_data_path("ultramarine", appauthor=False)


class Settings(BaseSettings):
    """What an operator may choose. Every value has a default that works on a laptop."""

    model_config = SettingsConfigDict(env_prefix="ULTRAMARINE_", frozen=True, extra="ignore")

    home: Path = Field(
        default_factory=default_home, description="The installation's folder: database, files, logs, sockets."
    )
    cache: Path | None = Field(
        default=None,
        description="What the nodes of this machine share and what can be made again: files of jobs, environments, "
        "uv's downloads, MLflow's environment. Installations may share one.",
    )
    port: int = Field(default=7770, ge=1, le=65535, description="The port of the API, the endpoints and the studio.")
    second_port: int = Field(
        default=7771,
        ge=1,
        le=65535,
        description="The port of the second origin, which shows what people's scripts make: MLflow's pages.",
    )
    instances_port: int = Field(
        default=7772,
        ge=1,
        le=65535,
        description="The port of the origin of compute instances: JupyterLab, which runs what its owner writes.",
    )
    listen: str = Field(
        default="",
        description="Addresses or names of this machine at which others are served too, by TLS: `ADDRESS[:PORT],…`; "
        "`0.0.0.0` or `::` is all of them. Empty: this machine alone is served. The other origins are at the two ports "
        "after `PORT`. `um up --listen`.",
    )
    listen_names: str = Field(
        default="",
        description="Further names and addresses by which others reach this machine, with commas. The certificate is "
        "good for them, and the first one is what nodes and clients are told.",
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="A certificate of yours (PEM, with what is between it and its CA) in place of one by the "
        "installation's own CA. A new one in the file is taken while it runs.",
    )
    tls_key: Path | None = Field(default=None, description="The key of that certificate (PEM, without a password).")
    tls_ca: Path | None = Field(
        default=None,
        description="The CA that signed that certificate (PEM): what nodes and jobs trust. Empty: what their machines "
        "trust anyway.",
    )
    database_url: str = Field(
        default="",
        description="Where the store is: `postgresql://USER:PASSWORD@HOST/NAME`, or `sqlite:///PATH`; MLflow's goes "
        "along into PostgreSQL. Without a password libpq's ways hold (`~/.pgpass`, `PGPASSWORD`). Empty: where it was "
        "at the last start, else SQLite in the home. `um up --database`.",
    )
    ray_address: str = Field(
        default="",
        description="The head of a Ray cluster, `HOST:PORT`, for clusters with `provider: ray`. This machine must be "
        "one of its nodes. Empty: none.",
    )
    ray_token: Path | None = Field(default=None, description="The file with the token of that Ray cluster.")
    ray_url: str = Field(
        default="",
        description="Where the nodes of that Ray cluster reach this installation, should it not be where "
        "`ULTRAMARINE_LISTEN` says; by https they trust what their machines trust.",
    )
    ray_head: str = Field(
        default="",
        description="Run a Ray of our own, for clusters with `provider: ray`: where its nodes reach its head, "
        "`HOST:PORT`, an address of this machine. Empty: none is run. Not together with `ULTRAMARINE_RAY_ADDRESS`.",
    )
    ray_provider: Path | None = Field(
        default=None,
        description="The file that says where that Ray has its machines from (how-to: a fleet that grows by itself). "
        "Without it nodes join by hand.",
    )
    beat_s: float = Field(default=5, gt=0, le=60, description="Seconds between two reports of a runner.")
    silent_after_s: float = Field(
        default=15, gt=0, description="Seconds without word from a node after which its runs are `NotResponding`."
    )
    lease_s: float = Field(
        default=300, gt=0, description="Seconds that a cut-off node goes on with its tasks, and that we wait for it."
    )
    lease_margin_s: float = Field(
        default=15, ge=0, description="Seconds after the lease until a node is taken for lost: clocks differ."
    )
    node_start_s: float = Field(
        default=60, gt=0, description="Seconds that a node may take from being asked for to its runner's first word."
    )
    grace_s: float = Field(
        default=10, ge=0, description="Seconds that a run has to end after it was asked to, before it is killed."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much the control plane writes to `HOME/logs/control.log`."
    )
    upload_bytes_max: int = Field(default=100 * 1024**3, gt=0, description="The largest file that may be uploaded.")
    manifest_bytes_max: int = Field(
        default=32 * 1024**2, gt=0, description="The largest list of a snapshot's files: about 200,000 files."
    )
    disk_reserve_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        description="What stays free on the server's disk: uploads and logs are refused before that, and tried again.",
    )
    run_processes_max: int = Field(
        default=4096, ge=16, description="Processes and threads that a run may have on one node."
    )
    run_log_bytes_max: int = Field(
        default=10 * 1024**3, ge=1024, description="The longest log of a rank. A run that writes more is ended."
    )
    run_disk_bytes_max: int = Field(
        default=0, ge=0, description="What a run may write into its folder on a node; 0: as much as the disk has."
    )
    environment_days_max: float = Field(
        default=30, gt=0, description="Days that a node keeps an environment that no run uses."
    )
    environments_bytes_max: int = Field(
        default=50 * 1024**3,
        gt=0,
        description="What a node's environments may take: beyond it those used least recently go, but none in use.",
    )
    checkpoint_every_s: float = Field(
        default=30, gt=0, description="Seconds between two looks at the checkpoint folder of a job that runs."
    )
    sizes: dict[str, SizeSetting] = Field(
        default_factory=dict[str, SizeSetting],
        description="Sizes of your own as JSON, added to the catalogue below: "
        '`{"big": {"cpus": 64, "memory_gib": 256}}`.',
    )
    size_aliases: dict[str, str] = Field(
        default_factory=dict[str, str],
        description='Further names for sizes as JSON, added to Azure\'s below: `{"STANDARD_M64S": "big"}`.',
    )

    @model_validator(mode="after")
    def _one_ray(self) -> "Settings":
        if self.ray_head and self.ray_address:
            raise ValueError("ULTRAMARINE_RAY_HEAD and ULTRAMARINE_RAY_ADDRESS: set one, a Ray of our own or another's")
        if self.ray_provider is not None and not self.ray_head:
            raise ValueError("ULTRAMARINE_RAY_PROVIDER is for a Ray of our own: set ULTRAMARINE_RAY_HEAD too")
        return self

    def size_catalogue(self) -> Mapping[str, SizeSetting]:
        """All sizes by name in small letters; one of your own stands in place of ours of the same name."""
        return {**SIZES, **{name.lower(): size for name, size in self.sizes.items()}}

    def size_alias_catalogue(self) -> Mapping[str, str]:
        """All aliases by name in capitals, each with the name of a size. Raises `ValueError` for an unknown size."""
        aliases = {**SIZE_ALIASES, **{alias.upper(): size.lower() for alias, size in self.size_aliases.items()}}
        known = self.size_catalogue()
        for alias, size in aliases.items():
            if size not in known:
                raise ValueError(f"ULTRAMARINE_SIZE_ALIASES: {alias} names the size {size}; known: {', '.join(known)}.")
        return aliases

"""All settings of a process, read from ``CARDEA_*`` once at its entry and handed down from there."""

import socket
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may choose; every field has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix="CARDEA_", extra="forbid", frozen=True)

    data: Path = Field(Path("cardea-data"), description="folder of the embedded database and event stream")
    key_file: Path | None = Field(None, description="keys that seal photos and templates; in `data` when unset")
    cache: Path = Field(Path("~/.cache/cardea"), description="folder of fetched packages, for demo and toolchain")
    database_url: SecretStr | None = Field(None, description="postgresql://... ; SQLite in `data` when unset")
    redis_url: SecretStr | None = Field(None, description="redis://... ; an embedded server when unset")
    videos: Path | None = Field(None, description="folder of video files that may be added as cameras")
    host: str = Field("127.0.0.1", description="address that the API listens on")
    proxies: str = Field("127.0.0.1", description="addresses or networks of proxies whose X-Forwarded headers count")
    port: int = Field(8000, ge=0, le=65535, description="port that the API listens on")
    worker: str = Field(default_factory=socket.gethostname, description="name of this worker, unique per database")
    stream: str = Field("cardea:events", description="key of the Redis stream")
    stream_length: int = Field(100_000, ge=1000, description="events kept in the stream, about")
    target_fpir: float = Field(1e-3, gt=0, le=0.1, description="what new buildings begin with")
    grant_seconds: float = Field(5.0, gt=0, le=60, description="how long a grant is worth anything")
    gate: str = Field("cardea", pattern="^(cardea|published|off)$", description="the early-exit rule")
    mqtt_url: SecretStr | None = Field(None, description="mqtt(s)://user:password@host:port, for one process")
    mqtt_ca: Path | None = Field(None, description="PEM that an mqtts:// broker is verified against")
    mqtt_topic: str = Field("cardea", pattern="^[^#+/]+$", description="first level of all MQTT topics")
    mqtt_discovery: str = Field("homeassistant", pattern="^[^#+]+$", description="Home Assistant's discovery prefix")
    webhook_networks: str = Field("", description="private networks that webhooks may reach, such as 10.0.5.0/24")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: str = Field("text", pattern="^(text|json)$", description="JSON lines for collectors of logs")

    @field_validator("gate", mode="before")
    @classmethod
    def _renamed(cls, gate: object) -> object:
        return {"adaptive": "cardea", "open": "off"}.get(gate, gate) if isinstance(gate, str) else gate

    @field_validator("target_fpir")
    @classmethod
    def _possible(cls, target: float) -> float:
        """Read less than any building may have as the strictest: no smaller rate was ever told apart."""
        return max(target, 1e-6)

    @field_validator("data", "cache", "key_file", "videos")
    @classmethod
    def _whole(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    def keys(self) -> Path:
        """Return the file of the encryption keys."""
        return self.key_file or self.data / "encryption.keys"

    def database(self) -> str:
        """Return the SQLAlchemy URL."""
        if self.database_url is None:
            return f"sqlite:///{self.data / 'cardea.db'}"
        url = self.database_url.get_secret_value()
        for plain in ("postgres://", "postgresql://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

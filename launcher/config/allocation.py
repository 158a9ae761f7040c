"""The schema of the allocation: `slurm` for all nodes, and what one role's nodes have of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from launcher.config.fields import Text, node_gpus

NodeGpus = Annotated[int, BeforeValidator(node_gpus), Field(ge=1, le=256)]
GpuType = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")]
GpuRequest = Literal["gpus-per-node", "gres", "none"]


class _Options(BaseModel):
    """A mapping in which any option of sbatch can stand."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def given(self) -> dict[str, Any]:
        """The sbatch options given, by their dashed long names."""
        return {key.replace("_", "-"): value for key, value in (self.__pydantic_extra__ or {}).items()}


class Slurm(_Options):
    """The allocation. Any other sbatch option can stand here by its long name."""

    gpus_per_node: NodeGpus = Field(default=8, description="GPUs on each node.")
    gpu_request: GpuRequest = Field(
        default="gpus-per-node",
        description="How the script asks for them: `--gpus-per-node`, `--gres=gpu:N`, "
        "or not at all (clusters that hand out whole nodes).",
    )

    gpu_type: GpuType | None = Field(
        default=None,
        description="The GPUs' type, where Slurm is to be told one: `--gpus-per-node=TYPE:N`, `--gres=gpu:TYPE:N`.",
    )
    options: list[Text] = Field(
        default_factory=list,
        description="Options that a plug-in of the site adds to sbatch, as words: `[\"--argos=no\"]`.",
    )

    def under(self, own: RoleSlurm) -> Slurm:
        """This one with a role's own on top of it, key by key."""
        options = {**self.given, **{k: v for k, v in own.given.items() if v is not None}}
        return Slurm(
            gpus_per_node=own.gpus_per_node or self.gpus_per_node,
            gpu_request=own.gpu_request or self.gpu_request,
            gpu_type=own.gpu_type or self.gpu_type,
            options=self.options if own.options is None else own.options,
            **options,
        )


class RoleSlurm(_Options):
    """What holds for this role's nodes in place of what `slurm` says: any sbatch option that chooses nodes."""

    gpus_per_node: NodeGpus | None = Field(default=None, description="GPUs on each of these nodes.")
    gpu_request: GpuRequest | None = Field(default=None, description="How the script asks for them.")
    gpu_type: GpuType | None = Field(default=None, description="Their type, where Slurm is to be told one.")
    options: list[Text] | None = Field(default=None, description="Options of the site's own, as words.")

    @property
    def says_something(self) -> bool:
        """Whether any key has a value: `null` is a key that is not given."""
        own = self.gpus_per_node, self.gpu_request, self.gpu_type, self.options
        return any(value is not None for value in (*own, *self.given.values()))

"""SchedulerMixin: which step of the schedule a call of `step` is."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vivace.schedulers.configuration import ConfigMixin

Timestep = float | Tensor


class SchedulerMixin(ConfigMixin):
    """Base of the schedulers.

    A run is `set_timesteps(n)`, then for each of `timesteps`: `scale_model_input`, the model,
    `step`. All numbers are computed on the host, and nothing here reads from a device. The timestep
    given to `step` is a number, a tensor on the host or one of `timesteps` on the device; what it
    means is settled without reading a device (see `_index`).

    Samples keep their dtype. The arithmetic is float32 (float64 for float64), also where diffusers
    computes DDIM, DDPM, PNDM, LMS, Heun and UniPC in float16 and bfloat16.

    order: calls of the model per step. init_noise_sigma: the standard deviation of the first
    sample, a float. timesteps: (number of calls of the model,), descending, on the device chosen.
    """

    order = 1
    init_noise_sigma: Any = 1.0
    timesteps: Tensor
    num_inference_steps: int | None = None
    _step_index: int | None = None
    _begin_index: int | None = None
    _schedule: list[float]

    @property
    def step_index(self) -> int | None:
        """The number of the next step; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where the run begins, by `set_begin_index`."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """The next run begins at this step, for samples that are not all noise."""
        self._begin_index = begin_index

    def scale_model_input(self, sample: Tensor, timestep: Timestep | None = None) -> Tensor:
        """The model's input for a sample: here the sample itself."""
        return sample

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def _set_schedule(
        self, timesteps: NDArray[Any], device: str | torch.device | None, dtype: torch.dtype
    ) -> None:
        """Starts a run over these timesteps."""
        on_host = torch.from_numpy(timesteps.copy()).to(dtype)
        self._schedule = on_host.tolist()
        self.timesteps = on_host.to(device)
        self._step_index = None
        self._begin_index = None
        self._forget()

    def _forget(self) -> None:
        """Drops what solvers keep from the steps before."""

    def _index(self, timestep: Timestep) -> int:
        """The number of the step, which becomes the running one.

        A timestep on the host is looked up, unless it is the one that is due: timesteps may occur
        twice. Of several the second counts, where a run that begins there has its first order,
        except at the beginning. A tensor on a device cannot be looked up without waiting for it: if
        it is an element of `timesteps`, its address tells its place; if not, it is the one that is
        due. A step out of turn drops the history of the solver.

        Raises ValueError for a number that is none of the timesteps, IndexError after the last.
        """
        due = self._begin_index if self._step_index is None else self._step_index
        if isinstance(timestep, Tensor) and timestep.device.type != "cpu":
            index = self._place(timestep)
            if index is None:
                index = due or 0
        else:
            value = float(timestep)
            if due is not None and due < len(self._schedule) and self._schedule[due] == value:
                index = due
            else:
                index = self._look_up(value)
        if index >= len(self._schedule):
            raise IndexError(
                f"{type(self).__name__}.step: all {len(self._schedule)} steps are done; "
                "call set_timesteps for another run"
            )
        if self._step_index is not None and index != self._step_index:
            self._forget()
        self._step_index = index
        return index

    def _look_up(self, value: float) -> int:
        found = [i for i, known in enumerate(self._schedule) if known == value]
        if not found:
            raise ValueError(
                f"{type(self).__name__}.step: timestep {value:g} is none of the "
                f"{len(self._schedule)} of set_timesteps"
            )
        return found[1] if len(found) > 1 and found[0] > 0 else found[0]

    def _place(self, timestep: Tensor) -> int | None:
        """The place in `timesteps` of a tensor that is a view of one of its elements."""
        address = self.timesteps.data_ptr()
        if (timestep.dtype, timestep.device) != (self.timesteps.dtype, self.timesteps.device):
            return None
        offset, rest = divmod(timestep.data_ptr() - address, self.timesteps.element_size())
        inside = address != 0 and rest == 0 and 0 <= offset < len(self._schedule)
        inside = inside and timestep.numel() == 1
        return offset if inside else None

    def _advance(self) -> None:
        if self._step_index is not None:
            self._step_index += 1

    def _require_timesteps(self) -> None:
        if self.num_inference_steps is None:
            raise ValueError(f"{type(self).__name__}.step: call set_timesteps first")

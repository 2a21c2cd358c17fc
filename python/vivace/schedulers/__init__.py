"""Schedulers of diffusion models, with the names, configurations and numbers of diffusers."""

from vivace.schedulers.base import SchedulerMixin as SchedulerMixin
from vivace.schedulers.ddim import DDIMScheduler as DDIMScheduler
from vivace.schedulers.ddpm import DDPMScheduler as DDPMScheduler
from vivace.schedulers.dpmsolver_multistep import (
    DPMSolverMultistepScheduler as DPMSolverMultistepScheduler,
)
from vivace.schedulers.euler_ancestral_discrete import (
    EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler,
)
from vivace.schedulers.euler_discrete import EulerDiscreteScheduler as EulerDiscreteScheduler
from vivace.schedulers.heun_discrete import HeunDiscreteScheduler as HeunDiscreteScheduler
from vivace.schedulers.lms_discrete import LMSDiscreteScheduler as LMSDiscreteScheduler
from vivace.schedulers.outputs import SchedulerOutput as SchedulerOutput
from vivace.schedulers.outputs import StepCoefficients as StepCoefficients
from vivace.schedulers.pndm import PNDMScheduler as PNDMScheduler
from vivace.schedulers.unipc_multistep import UniPCMultistepScheduler as UniPCMultistepScheduler

"""Reading and writing models as files: local folders, embedded models and the Hugging Face Hub."""

from vivace.hub.checkpoint import LazyTensor as LazyTensor
from vivace.hub.checkpoint import lazy_tensors as lazy_tensors
from vivace.hub.checkpoint import load_pickled as load_pickled
from vivace.hub.checkpoint import open_checkpoint as open_checkpoint
from vivace.hub.files import EMBEDDED as EMBEDDED
from vivace.hub.files import Source as Source
from vivace.hub.files import read_json as read_json
from vivace.hub.saving import push_folder as push_folder
from vivace.hub.saving import save_state_dict as save_state_dict
from vivace.hub.saving import write_json as write_json
from vivace.hub.weight_norm import fold_state_dict as fold_state_dict
from vivace.hub.weight_norm import fold_weight_norm as fold_weight_norm
from vivace.hub.weight_norm import match_weight_norm as match_weight_norm

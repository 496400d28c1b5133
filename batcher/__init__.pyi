# What type checkers and editors know of the public names, which `__init__.py` imports at first use; a test compares.

from collections.abc import Mapping

from batcher.api.calls import arun as arun
from batcher.api.calls import run as run
from batcher.api.calls import stream as stream
from batcher.api.result import Run as Run
from batcher.api.result import open_run as open_run
from batcher.api.stream import OutcomeStream as OutcomeStream
from batcher.emulator.server import Emulator as Emulator
from batcher.engine.local import Options as Options
from batcher.engine.local import retry_run as retry_run
from batcher.engine.local import run_job as run_job
from batcher.engine.outcomes import TaskOutcome as TaskOutcome
from batcher.engine.progress import Phase as Phase
from batcher.engine.progress import Snapshot as Snapshot
from batcher.engine.progress import Summary as Summary
from batcher.engine.status import RunStatus as RunStatus
from batcher.engine.status import read_status as read_status
from batcher.errors import BatcherError as BatcherError
from batcher.errors import EndpointRefused as EndpointRefused
from batcher.errors import Exit as Exit
from batcher.errors import InputError as InputError
from batcher.errors import Interrupted as Interrupted
from batcher.errors import JobError as JobError
from batcher.errors import PlanChanged as PlanChanged
from batcher.errors import RunLocked as RunLocked
from batcher.errors import RunStopped as RunStopped
from batcher.errors import StorageError as StorageError
from batcher.errors import UserError as UserError
from batcher.job.key import Secret as Secret
from batcher.job.key import read_key as read_key
from batcher.job.load import Loaded as Loaded
from batcher.job.load import load_job as load_job
from batcher.job.spec import Job as Job
from batcher.records import Status as Status

PUBLIC: Mapping[str, str]
__version__: str

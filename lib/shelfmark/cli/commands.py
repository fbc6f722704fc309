"""Every command by its name, in the order of `shelfmark --help`."""

from __future__ import annotations

from shelfmark.cli.cluster_commands import CLUSTER_COMMANDS
from shelfmark.cli.compare_commands import COMPARE_COMMANDS
from shelfmark.cli.completion_commands import COMPLETION_COMMANDS
from shelfmark.cli.config_commands import CONFIG_COMMANDS
from shelfmark.cli.data_commands import DATA_COMMANDS
from shelfmark.cli.discover_commands import DISCOVER_COMMANDS
from shelfmark.cli.doctor_commands import DOCTOR_COMMANDS
from shelfmark.cli.explain_commands import EXPLAIN_COMMANDS
from shelfmark.cli.export_commands import EXPORT_COMMANDS
from shelfmark.cli.grow_commands import GROW_COMMANDS
from shelfmark.cli.index_commands import INDEX_COMMANDS
from shelfmark.cli.index_life_commands import INDEX_LIFE_COMMANDS
from shelfmark.cli.lance_commands import LANCE_COMMANDS
from shelfmark.cli.model_commands import MODEL_COMMANDS
from shelfmark.cli.plan_commands import PLAN_COMMANDS
from shelfmark.cli.predict_commands import PREDICT_COMMANDS
from shelfmark.cli.promise_commands import PROMISE_COMMANDS
from shelfmark.cli.report_commands import REPORT_COMMANDS
from shelfmark.cli.serve_commands import SERVE_COMMANDS
from shelfmark.cli.share_commands import SHARE_COMMANDS
from shelfmark.cli.shrink_commands import SHRINK_COMMANDS
from shelfmark.cli.train_commands import TRAIN_COMMANDS

COMMANDS = {
    **TRAIN_COMMANDS,
    **PLAN_COMMANDS,
    **DOCTOR_COMMANDS,
    **SHRINK_COMMANDS,
    **LANCE_COMMANDS,
    **PREDICT_COMMANDS,
    **MODEL_COMMANDS,
    **COMPARE_COMMANDS,
    **REPORT_COMMANDS,
    **GROW_COMMANDS,
    **EXPORT_COMMANDS,
    **SHARE_COMMANDS,
    **INDEX_COMMANDS,
    **INDEX_LIFE_COMMANDS,
    **PROMISE_COMMANDS,
    **EXPLAIN_COMMANDS,
    **SERVE_COMMANDS,
    **DISCOVER_COMMANDS,
    **CLUSTER_COMMANDS,
    **DATA_COMMANDS,
    **CONFIG_COMMANDS,
    **COMPLETION_COMMANDS,
}

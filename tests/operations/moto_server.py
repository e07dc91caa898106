"""`python -m tests.operations.moto_server PORT`: moto's server, whose stacks of change sets have outputs and parameters."""

import sys
from typing import Any

from moto.cloudformation import models
from moto.server import main

apply = models.ChangeSet.apply


def whole(self: models.ChangeSet) -> None:
    """moto 5.2 makes the resources of a change set and keeps the stack's empty template, which has no outputs."""
    apply(self)
    stack: Any = self.stack
    stack.template, stack.parameters = self.template, self.parameters
    stack._parse_template()
    stack.output_map = stack._create_output_map()


if __name__ == "__main__":
    models.ChangeSet.apply = whole  # type: ignore[method-assign]
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])

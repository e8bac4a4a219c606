"""`roadbed schema`: JSON Schema of the files people write, for editors and for other programs."""

import click

from roadbed.cli.base import print_json


@click.command("schema")
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """JSON Schema of one KIND (service, task, quota, cluster, tenant, key, config), or of any apply file.

    \b
      roadbed schema service > service.schema.json
      # yaml-language-server: $schema=service.schema.json
    """
    from roadbed.spec.schema import schema

    print_json(schema(kind))

"""Models: where they come from (`sources`), where they are kept (`store`), which we know by name (`catalogue`)."""

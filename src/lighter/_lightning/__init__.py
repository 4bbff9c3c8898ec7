"""The only place that imports or reads private names of Lightning and of torch's dataloader."""

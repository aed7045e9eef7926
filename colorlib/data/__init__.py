"""Pictures, from any source to batches: `files` reads one picture, `sets` makes clean folders of them, `pipeline`
feeds them to a model; `video` cuts films into frames, `scenes` paints pictures that need no download."""

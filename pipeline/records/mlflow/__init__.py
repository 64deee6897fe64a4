"""MLflow as a projection of the store: written beside the training, and rebuilt from the store at any time.

`notes` keeps in the store what stages are in MLflow, `content` says what a row is there, `projected` compares that with what
MLflow holds, and `views` says what the page of an experiment shows. `note_writer` writes a note, and `writer` all of them, so
that every call can be repeated. `background` calls it from a thread, `server` reaches a tracking server and `database` the
store's own.
"""

def page(runs, store=None, title=None):
    raise NotImplementedError

def baselines(results):
    return []

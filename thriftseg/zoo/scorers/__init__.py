"""Networks that judge annotations of objects: QNet and the agent of EVA-VOS."""

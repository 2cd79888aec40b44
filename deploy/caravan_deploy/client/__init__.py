"""The official Backend.AI client, unmodified, and the main job that shows a new Caravan at work."""

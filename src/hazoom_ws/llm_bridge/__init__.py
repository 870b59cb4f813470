"""From a question to the AI to its answer. `LlmBridge` is what others call; modules in here import each other's names."""

from hazoom_ws.llm_bridge.bridge import LlmBridge

__all__ = ["LlmBridge"]

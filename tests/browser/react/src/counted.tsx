// The page of the guide, with a count of how often the chat is rendered, and the service for the test to look at.

import { StrictMode, type ComponentProps } from "react";
import { createRoot } from "react-dom/client";
import { Store, WebSocketService } from "./chat";
import { WebSocketChat } from "./WebSocketChat";

const chat = new WebSocketService(import.meta.env.VITE_CHAT_URL);
const counted = Object.assign(window, { chat, Store, renders: 0 });

/** The same component with a count: it runs in the place of the one that it calls. */
function Counted(properties: ComponentProps<typeof WebSocketChat>) {
  counted.renders += 1;
  return WebSocketChat(properties);
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Counted chat={chat} room="general" />
  </StrictMode>,
);

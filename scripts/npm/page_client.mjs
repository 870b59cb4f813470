// Stands for "socket.io-client" in editor.mjs: the page has loaded that client already, and both use one connection then.

export const { io } = globalThis;

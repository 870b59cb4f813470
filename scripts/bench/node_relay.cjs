// A plain relay of an AI backend's stream on Node: one HTTP request per question, one event per token as it arrives.
"use strict";

const http = require("node:http");

const agent = new http.Agent({ keepAlive: true });

module.exports = function relay(socket, user, question) {
  const { message, request_id, intelligence_level = "super", session_id = socket.id } = question;
  const started = Date.now();
  const tokens = [];
  let ttft_ms = 0;
  const body = JSON.stringify({ message, stream: true, intelligence_level, session_id, user_identifier: user });
  const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
  const error = { request_id, code: "llm_failed", message: "the AI service failed", retry: true };
  const fail = () => socket.emit("llm_error", error);

  function handle(event, { token, full_response }) {
    if (event === "token") {
      if (!tokens.length) ttft_ms = Date.now() - started;
      socket.emit("llm_token", { token, request_id, index: tokens.push(token) - 1 });
    } else if (event === "end") {
      socket.emit("llm_complete", {
        message: "Response complete",
        timestamp: Date.now() / 1000,
        request_id,
        response: full_response,
        finish_reason: "stop",
        intelligence_level,
        session_id,
        token_count: tokens.length,
        ttft_ms,
        duration_ms: Date.now() - started,
      });
    } else if (event === "error") fail();
  }

  const request = http.request(process.env.HAZOOM_LLM_URL, { method: "POST", agent, headers }, (response) => {
    let held = "";
    response.setEncoding("utf8");
    response.on("data", (text) => {
      const events = (held + text).split("\n\n");
      held = events.pop();
      for (const lines of events) {
        let event = "message";
        let data = "";
        for (const line of lines.split("\n")) {
          if (line.startsWith("event: ")) event = line.slice(7);
          else if (line.startsWith("data: ")) data += line.slice(6);
        }
        handle(event, JSON.parse(data));
      }
    });
    response.on("error", fail);
  });
  request.on("error", fail);
  request.end(body);
};

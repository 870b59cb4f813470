// The form that asks for an API key or a token where the server lets in nobody without one. For any page:
//
//   const login = new Login(() => { socket.auth = { ...login.auth }; socket.connect(); });
//   socket.on("connect_error", (error) => login.isAskedBy(error) && login.ask(error));
//   socket.on("connect", () => login.succeed());
//
// with login.css. The secret stays in memory, or, if the user says so, in sessionStorage until the tab is closed. It is
// never put into an address or a message.

import { read, write } from "./browser_storage.js";

const SECRET_KEY = "hazoom_ws.login";
const EXPLAINED =
  "This server asks who you are. Paste the API key or the token that you were given, or log in on the website that it belongs to.";
const SECRET_LIMIT_CHARS = 16384; // of a token, as the server has it

export class Login {
  #onSecret;
  #secret;
  #wasTried = false;
  #dialog = null;

  // ``onSecret()`` is called when there is another secret to try.
  constructor(onSecret) {
    this.#onSecret = onSecret;
    // Who opened the page with a key in its address has said it already.
    const kept = read(SECRET_KEY, null, "sessionStorage");
    this.#secret = typeof kept === "string" ? kept : new URLSearchParams(location.search).get("api_key");
    this.#wasTried = Boolean(this.#secret);
  }

  // The fields for Socket.IO's ``auth``: only the server knows which of the two it asks for.
  get auth() {
    return this.#secret ? { api_key: this.#secret, token: this.#secret } : {};
  }

  // Whether a ``connect_error`` says that the server does not let one in; with ``retry`` it could not find out.
  isAskedBy(error) {
    return error?.data?.code === "unauthorized" && !error.data.retry;
  }

  // Shows the form; it stays until the server lets one in.
  ask() {
    this.#dialog ??= this.#build();
    const problem = this.#dialog.querySelector("[role=alert]");
    problem.textContent = this.#wasTried ? "That was not accepted. Is it complete, and still valid?" : "";
    this.#setBusy(false);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.querySelector("input").select();
  }

  // The server has let one in.
  succeed() {
    if (this.#dialog?.open) this.#dialog.close();
  }

  #try(secret, isKept) {
    this.#secret = secret;
    this.#wasTried = true;
    write(SECRET_KEY, isKept ? secret : null, "sessionStorage");
    this.#setBusy(true);
    this.#onSecret();
  }

  #setBusy(isBusy) {
    const button = this.#dialog.querySelector("button");
    button.disabled = isBusy;
    button.textContent = isBusy ? "Logging in …" : "Log in";
  }

  #build() {
    const dialog = make("dialog", { className: "login" });
    dialog.setAttribute("aria-labelledby", "login-title");
    const form = make("form", { method: "dialog" });
    const input = make("input", {
      id: "login-secret", type: "password", autocomplete: "current-password", required: true, spellcheck: false,
      maxLength: SECRET_LIMIT_CHARS,
    });
    input.setAttribute("aria-describedby", "login-problem");
    const kept = make("input", { type: "checkbox", id: "login-kept" });
    const problem = make("p", { id: "login-problem", className: "login-problem" });
    problem.setAttribute("role", "alert");
    form.append(
      make("h2", { id: "login-title", textContent: "Log in" }),
      make("p", { textContent: EXPLAINED }),
      make("label", { htmlFor: "login-secret", textContent: "API key or token" }),
      input,
      problem,
      make("label", { className: "login-kept" }, kept, "Remember it until this tab is closed"),
      make("button", { textContent: "Log in" }),
    );
    const again = make("button", { type: "button", textContent: "I have logged in on the website: try again" });
    again.addEventListener("click", () => {
      this.#setBusy(true);
      this.#onSecret();
    });
    form.append(again);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const secret = input.value.trim();
      if (secret) this.#try(secret, kept.checked);
    });
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it to use
    dialog.append(form);
    document.body.append(dialog);
    return dialog;
  }
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

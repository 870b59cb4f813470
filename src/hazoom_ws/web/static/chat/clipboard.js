// Copies a text, and says on the button that asked for it how that went.

const SAID_MS = 2000;

export async function copy(text, button) {
  const label = button.querySelector(".label") ?? button;
  label.dataset.text ??= label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Not allowed"; // a page that is not served over HTTPS, or the user's choice
  }
  setTimeout(() => (label.textContent = label.dataset.text), SAID_MS);
}

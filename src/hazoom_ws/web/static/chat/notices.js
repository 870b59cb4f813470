// What calls the reader back: a sound and a notification, if they were asked for, and the number of unread messages in the
// title. Nothing of it while the reader looks at what was said.

const SHOWN_CHARS = 140;
const BEEP_S = 0.18;
const QUIET_MS = 1500; // between two sounds

let audio = null;
let beepedAtMs = -Infinity;

export class Notices {
  #settings;
  #onChoose;

  // ``onChoose(room)``: a notification was clicked.
  constructor(settings, onChoose) {
    this.#settings = settings;
    this.#onChoose = onChoose;
  }

  // A message has come that one has not written. ``isShown``: its room is the one on the page.
  take({ room, user, message }, isShown, isMention) {
    const isHidden = document.visibilityState === "hidden";
    if (!isHidden && (isShown || !isMention)) return;
    if (this.#settings.hasSound) beep();
    if (this.#settings.hasNotifications) this.#notify(room, user, message);
  }

  #notify(room, user, message) {
    try {
      // One per room: a newer one takes its place.
      const notification = new Notification(`${user} in ${room}`, { body: message.slice(0, SHOWN_CHARS), tag: `hazoom_ws ${room}` });
      notification.addEventListener("click", () => {
        window.focus();
        this.#onChoose(room);
        notification.close();
      });
    } catch {
      // on phones only a service worker may do that
    }
  }
}

export function beep() {
  if (performance.now() - beepedAtMs < QUIET_MS) return;
  beepedAtMs = performance.now();
  audio ??= new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.08, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + BEEP_S);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + BEEP_S);
}

// "(3) team – hazoom_ws".
export function showTitle(rooms, current) {
  const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
  document.title = `${unread ? `(${unread > 99 ? "99+" : unread}) ` : ""}${current.name} – hazoom_ws`;
}

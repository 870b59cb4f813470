// A page with Quill on a shared document, as its users write it.
import * as Y from "yjs";
import { SocketIOProvider } from "y-socket.io";
import { QuillBinding } from "y-quill";
import Quill from "quill";
import QuillCursors from "quill-cursors";

const query = new URLSearchParams(location.search);
const doc = new Y.Doc();
const provider = new SocketIOProvider(query.get("server"), query.get("name"), doc, {}, { reconnectionDelayMax: 500 });
provider.awareness.setLocalStateField("user", { name: query.get("user"), color: "#1971c2" });
Quill.register("modules/cursors", QuillCursors);
const quill = new Quill("#editor", { modules: { cursors: true } });
new QuillBinding(doc.getText("content"), quill, provider.awareness);
provider.on("sync", (isSynced) => (document.body.dataset.synced = isSynced));
window.provider = provider;

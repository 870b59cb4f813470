// A page with CodeMirror on a shared document, as its users write it.
import * as Y from "yjs";
import { SocketIOProvider } from "y-socket.io";
import { yCollab } from "y-codemirror.next";
import { EditorView, basicSetup } from "codemirror";

const query = new URLSearchParams(location.search);
const doc = new Y.Doc();
const provider = new SocketIOProvider(query.get("server"), query.get("name"), doc, {}, { reconnectionDelayMax: 500 });
provider.awareness.setLocalStateField("user", { name: query.get("user"), color: "#d9480f", colorLight: "#d9480f33" });
const text = doc.getText("content");
const parent = document.querySelector("#editor");
new EditorView({ doc: text.toString(), extensions: [basicSetup, yCollab(text, provider.awareness)], parent });
provider.on("sync", (isSynced) => (document.body.dataset.synced = isSynced));
window.provider = provider;

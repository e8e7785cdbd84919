// Keyboard shortcuts: one table that acts and that the help reads out.

// actions: [{ keys: ["o"], label: "O", text: "overlay on or off", run }]; run gets the key.
export function listen(actions) {
  const byKey = new Map(actions.flatMap((action) => action.keys.map((key) => [key, action])));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input:not([type=range]), select, textarea")) return;
    const action = byKey.get(event.key.toLowerCase());
    if (!action || (document.querySelector("dialog[open]") && !action.always)) return;
    event.preventDefault();
    action.run(event.key.toLowerCase());
  });
}

// Rows of <dt><kbd>O</kbd></dt><dd>overlay on or off</dd> for the help.
export function describe(list, actions) {
  for (const { label, text } of actions) {
    const key = document.createElement("kbd");
    key.textContent = label;
    const term = document.createElement("dt");
    term.append(key);
    const meaning = document.createElement("dd");
    meaning.textContent = text;
    list.append(term, meaning);
  }
}

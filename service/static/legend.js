// The legend: each class with its colour, whether it is there, how sure the model is; and what has
// no name, of which nobody can be sure. A button each, which hides the class or shows it again.

export class Legend {
  // onToggle(class id)
  constructor(list, onToggle) {
    Object.assign(this, { list, onToggle, classes: [] });
  }

  // classes: of the status; hidden: Set of class ids; usable: can a single class be hidden?
  show(classes, hidden, usable) {
    this.classes = classes;
    while (this.list.children.length > classes.length) this.list.lastChild.remove();
    while (this.list.children.length < classes.length) this.list.append(this.#row());
    classes.forEach((one, index) => fill(this.list.children[index], one, index, hidden, usable));
  }

  #row() {
    const item = document.createElement("li");
    const button = item.appendChild(document.createElement("button"));
    button.type = "button";
    button.className = "class";
    for (const name of ["swatch", "name", "confidence", "bar"]) {
      button.append(Object.assign(document.createElement("span"), { className: name }));
    }
    button.lastChild.append(document.createElement("i"));
    button.addEventListener("click", () => this.onToggle(Number(button.dataset.id)));
    return item;
  }
}

function fill(item, { id, name, color, present, confidence }, index, hidden, usable) {
  const button = item.firstChild;
  const percent = confidence === undefined ? 0 : Math.round(confidence * 100);
  const shown = !hidden.has(id);
  const [there, gone] = confidence === undefined ? ["here", "none"] : [`${percent} %`, "absent"];
  button.dataset.id = id;
  button.disabled = !usable;
  button.title = usable ? `Show or hide${index < 9 ? ` (${index + 1})` : ""}` : "";
  button.setAttribute("aria-pressed", String(shown));
  button.classList.toggle("absent", !present);
  button.style.setProperty("--color", color);
  button.querySelector(".name").textContent = name.replaceAll("_", " ");
  button.querySelector(".confidence").textContent = shown ? (present ? there : gone) : "hidden";
  button.querySelector(".bar i").style.width = present ? `${percent}%` : "0";
}

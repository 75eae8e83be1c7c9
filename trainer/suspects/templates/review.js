"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { suspects, pictures, classes } = data;
  const key = `multihot-review-${data.digest}`;
  const WORDS = { accept: "Accepted", keep: "Kept", skip: "Skipped" };
  const KEYS = { a: "accept", k: "keep", s: "skip", u: "undo", c: "save", arrowleft: "before", arrowright: "after" };
  const one = (id) => document.getElementById(id);

  // decisions: of each suspect accept, keep, skip or null. history: [index, decision before], the last one at the end.
  let state = { decisions: suspects.map(() => null), history: [], at: 0 };
  let isKept = true;

  const load = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key));
      if (found && found.decisions.length === suspects.length) state = found;
    } catch { isKept = false; }
  };
  const store = () => {
    try { localStorage.setItem(key, JSON.stringify(state)); } catch { isKept = false; }
  };

  const count = (decision) => state.decisions.filter((each) => each === decision).length;
  const name = (label) => `“${classes[label]}”`;
  const labelsOf = (labels) => labels.map((label) => classes[label]).join(", ") || "no label";

  const question = (suspect) => {
    const added = suspect.changes.filter((change) => change.suggested).map((change) => name(change.label));
    const removed = suspect.changes.filter((change) => !change.suggested).map((change) => name(change.label));
    if (added.length && removed.length) return `${added.join(", ")} instead of ${removed.join(", ")}?`;
    return added.length ? `Is there ${added.join(", ")}?` : `No ${removed.join(", no ")}?`;
  };
  const suggestion = (suspect) => {
    const changes = suspect.changes.map((change) =>
      `The label of ${name(change.label)} is ${change.given}, suggested is ${change.suggested}.`);
    return `${changes.join(" ")} Confidence: ${(100 * suspect.confidence).toFixed(1)} %.`;
  };

  const show = (said = "", isSaved = false) => {
    const suspect = suspects[state.at], decided = count("accept") + count("keep");
    one("progress").max = Math.max(1, suspects.length);
    one("progress").value = decided;
    const parts = [said, suspects.length ? `Image ${state.at + 1} of ${suspects.length}.` : "There are no suspects.",
      `${count("accept")} accepted, ${count("keep")} kept, ${count("skip")} skipped, ` +
      `${suspects.length - decided - count("skip")} to be decided.`];
    if (suspects.length && !state.decisions.includes(null)) {
      parts.push(`All have been looked at${isSaved ? "" : `: save ${data.file}`}.`);
    }
    if (!isKept) parts.push("This browser does not keep your decisions: save before you close the page.");
    one("status").textContent = parts.filter(Boolean).join(" ");
    one("undo").disabled = !state.history.length;
    for (const id of ["accept", "keep", "skip"]) {
      one(id).disabled = !suspect;
      one(id).setAttribute("aria-pressed", String(Boolean(suspect) && state.decisions[state.at] === id));
    }
    one("before").disabled = state.at === 0;
    one("after").disabled = state.at >= suspects.length - 1;
    document.querySelector("main").hidden = !suspect;
    if (!suspect) return;
    one("picture").src = pictures[suspect.picture] || "data:,";
    one("picture").alt = pictures[suspect.picture] ? suspect.filename : `no picture: ${suspect.filename}`;
    one("question").textContent = question(suspect);
    one("suggestion").textContent = suggestion(suspect);
    one("labels").textContent = labelsOf(suspect.labels);
    one("file").textContent = `${suspect.filename} (${suspect.split})`;
    one("row").textContent = suspect.row || "not known: the dataset is of an older version";
    one("kind").textContent = suspect.found_by;
    one("neighbours-title").textContent = suspect.title;
    one("neighbours").replaceChildren(...suspect.neighbours.map((neighbour) => {
      const item = document.createElement("li"), image = document.createElement("img");
      image.src = pictures[neighbour.picture] || "data:,";
      image.alt = neighbour.filename;
      const text = document.createElement("p");
      text.textContent = labelsOf(neighbour.labels);
      const file = document.createElement("p");
      file.className = "muted";
      file.textContent = neighbour.filename;
      item.append(image, text, file);
      return item;
    }));
  };

  const go = (index, said) => {
    state.at = Math.max(0, Math.min(suspects.length - 1, index));
    store();
    show(said);
  };
  const decide = (decision) => {
    const at = state.at;
    state.history.push([at, state.decisions[at]]);
    state.decisions[at] = decision;
    // The next image without a decision: after this one, or else the first.
    const after = state.decisions.indexOf(null, at + 1), first = state.decisions.indexOf(null);
    go(after >= 0 ? after : first >= 0 ? first : at, `${WORDS[decision]}: ${suspects[at].filename}.`);
  };
  const undo = () => {
    const last = state.history.pop();
    if (!last) return;
    state.decisions[last[0]] = last[1];
    go(last[0], "Undone.");
  };
  const save = () => {
    const rows = suspects.flatMap((suspect, i) => state.decisions[i] === "accept" ? suspect.rows : []);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([data.header, ...rows], { type: "text/csv" }));
    link.download = data.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    show(`${data.file} has ${rows.length} corrected ${rows.length === 1 ? "label" : "labels"}.`, true);
  };
  const actions = {
    accept: () => decide("accept"), keep: () => decide("keep"), skip: () => decide("skip"), undo, save,
    before: () => go(state.at - 1), after: () => go(state.at + 1),
  };

  for (const [id, action] of Object.entries(actions)) {
    one(id).addEventListener("click", action);
  }
  document.addEventListener("keydown", (event) => {
    const id = KEYS[event.key.toLowerCase()];
    if (!id || event.ctrlKey || event.metaKey || event.altKey || event.repeat || one(id).disabled) return;
    event.preventDefault();
    actions[id]();
  });
  load();
  show();
})();

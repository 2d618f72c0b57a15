"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const scans = data.scans.map(values => Object.fromEntries(data.fields.map((name, index) => [name, values[index]])));
  const PER_PAGE = 50;
  const find = id => document.getElementById(id);
  const state = { sort: null, down: false, page: 0, shown: [], open: -1, large: 0, outlined: true };

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value);
    }
    made.append(...children.filter(child => child !== null && child !== undefined));
    return made;
  };
  // Numbers as core/numbers.py writes them.
  const decimals = (value, digits) => value === null ? "–"
    : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const grouped = value => decimals(value, 0);
  const score = value => decimals(value, 3);
  const percent = value => value === null ? "–" : `${decimals(100 * value, 1)} %`;
  const sentences = indices => indices.map(index => data.sentences[index]);
  const flagsOf = scan => scan.flags.map(index => data.flags[index]);
  const labelsOf = scan => scan.flags.map(index => data.labels[index]);

  const verdicts = keptVerdicts(data.store, scans, () => find("scan").open ? drawScan() : draw()); // an open scan keeps its place in the list
  const verdictOf = verdicts.of;

  const size = scan => scan.ml ?? (scan.voxels === null ? null : scan.voxels / 1e9);
  const noteOf = scan => scan.error !== null ? data.sentences[scan.error] : sentences(scan.warnings).join(" ");
  const columns = [
    { name: "picture", title: "Picture" },
    { name: "id", title: "Scan", value: scan => scan.id },
    { name: "status", title: "Status", value: scan => scan.status, optional: true },
    { name: "size", title: "Lesion size", value: size },
    { name: "lung", title: "Share of lung", value: scan => scan.lung, optional: true },
    { name: "lesions", title: "Lesions", value: scan => scan.lesions, optional: true },
    { name: "quality", title: "Expected Dice", value: scan => scan.lesions ? scan.quality : null },
    { name: "drift", title: "Drift", value: scan => scan.drift, optional: true },
    { name: "flags", title: "Flags", value: scan => scan.flags.length },
    { name: "note", title: "Remarks", value: noteOf, optional: true },
    { name: "verdict", title: "Verdict", value: verdictOf },
  ];
  const filters = {
    all: () => true,
    review: scan => scan.rank !== null,
    undecided: scan => scan.rank !== null && !verdictOf(scan),
    done: scan => scan.status === "done",
    failed: scan => scan.status === "failed",
    lesion: scan => scan.lesions > 0,
  };

  const select = () => {
    const show = find("show").value, flag = find("flag").value, text = find("text").value.trim().toLowerCase();
    state.shown = scans.filter(scan => filters[show](scan)
      && (!flag || flagsOf(scan).includes(flag)) && (!text || scan.id.toLowerCase().includes(text)));
    const column = columns.find(each => each.name === state.sort);
    const rank = scan => scan.rank ?? Infinity;
    const compare = column ? (a, b) => {
      const [first, second] = [column.value(a), column.value(b)];
      if (first === second) return 0;
      if (first === null || second === null) return first === null ? 1 : -1;
      return (first < second ? -1 : 1) * (state.down ? -1 : 1);
    } : (a, b) => rank(a) === rank(b) ? 0 : rank(a) - rank(b);
    state.shown.sort(compare);
    state.page = Math.min(state.page, Math.max(0, Math.ceil(state.shown.length / PER_PAGE) - 1));
  };

  const pictureOf = scan => Object.hasOwn(data.pictures, scan.id) ? data.pictures[scan.id]
    : `${data.previews}/${Object.hasOwn(data.names, scan.id) ? data.names[scan.id] : scan.id}.png`;
  const hasPicture = scan => scan.status === "done" || scan.status === "skipped";
  const hasSlices = scan => scan.shown !== null; // of earlier versions it is not known which slices a preview shows
  const lesionText = scan => scan.ml !== null ? `${decimals(scan.ml, 1)} ml`
    : scan.voxels === null ? "–" : `${grouped(scan.voxels)} px`;
  const qualityText = scan => scan.lesions ? score(scan.quality) : "–";
  const isForeign = scan => scan.drift > 1;

  const cells = {
    picture: (scan, index) => hasPicture(scan) ? element("button",
      { type: "button", class: "thumb", "aria-label": `Open ${scan.id}`, onclick: () => open(index) },
      element("img", { src: pictureOf(scan), alt: "", loading: "lazy", onerror: event => event.target.remove() })) : "",
    id: (scan, index) => element("button", { type: "button", class: "link", onclick: () => open(index) }, scan.id),
    status: scan => scan.status.replaceAll("_", " "),
    size: lesionText,
    lung: scan => percent(scan.lung),
    lesions: scan => grouped(scan.lesions),
    quality: scan => isForeign(scan) && qualityText(scan) !== "–" ? `(${qualityText(scan)})` : qualityText(scan),
    drift: scan => score(scan.drift),
    flags: scan => element("span", {}, ...labelsOf(scan).map((label, n) =>
      element("span", { class: `pill ${flagsOf(scan)[n]}`, title: flagsOf(scan)[n] }, label))),
    note: scan => scan.code ? `${scan.code}: ${noteOf(scan)}` : noteOf(scan),
    verdict: scan => element("span", { class: "verdict" }, verdictOf(scan) ?? ""),
  };
  const classOf = ({ name, optional }) => [name, name === "id" ? "scan" : "", ["id", "flags", "note", "status"].includes(name) ? "text" : "", optional ? "optional" : ""].filter(Boolean).join(" ");

  const header = () => columns.map(column => {
    const sorted = state.sort === column.name;
    const content = column.value ? element("button", { type: "button", onclick: () => sortBy(column.name) },
      column.title + (sorted ? (state.down ? " ↓" : " ↑") : "")) : column.title;
    const attributes = { scope: "col", class: classOf(column) };
    if (sorted) attributes["aria-sort"] = state.down ? "descending" : "ascending";
    return element("th", attributes, content);
  });
  const draw = () => {
    select();
    const first = state.page * PER_PAGE, rows = state.shown.slice(first, first + PER_PAGE);
    find("table").tHead.rows[0].replaceChildren(...header());
    find("table").tBodies[0].replaceChildren(...rows.map((scan, offset) => element("tr", {}, ...columns.map(column =>
      element("td", { class: classOf(column), "data-title": column.title },
        cells[column.name](scan, first + offset))))));
    const pages = Math.max(1, Math.ceil(state.shown.length / PER_PAGE)), decided = verdicts.decided().length;
    const verdictsText = decided ? `; ${grouped(decided)} with a verdict` : "";
    find("count").textContent = `${grouped(state.shown.length)} of ${grouped(scans.length)} ${scans.length === 1 ? "scan" : "scans"}${verdictsText}`;
    find("page").textContent = `Page ${grouped(state.page + 1)} of ${grouped(pages)}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page >= pages - 1;
    find("export").disabled = !verdicts.canSave();
  };
  const sortBy = name => {
    state.down = state.sort === name ? !state.down : false;
    state.sort = name;
    state.page = 0;
    draw();
    find("table").tHead.querySelector("[aria-sort] button").focus();
  };

  // A preview has its slices side by side in one picture: each is shown by a window on it.
  const nameOf = (scan, n) => scan.of > 1 ? `slice ${grouped(scan.shown[n])} of ${grouped(scan.of)}` : "slice";
  const slice = (scan, n) => {
    const image = element("img", { src: pictureOf(scan), alt: `${nameOf(scan, n)} of ${scan.id}, lesions and lungs outlined` });
    const crop = element("div", { class: "crop" }, image, ...(scan.oriented ? ["R", "L"].map(side =>
      element("span", { class: `side ${side}`, title: side === "R" ? "the patient's right" : "the patient's left" }, side)) : []));
    const fit = () => {
      const { naturalWidth, naturalHeight } = image;
      if (!naturalWidth) return;
      const width = (naturalWidth - (scan.shown.length - 1) * data.gap) / scan.shown.length;
      crop.style.setProperty("--ratio", width / naturalHeight);
      image.style.width = `${100 * naturalWidth / width}%`;
      image.style.left = `${-100 * n * (width + data.gap) / width}%`;
    };
    image.addEventListener("load", fit);
    image.addEventListener("error", () => crop.closest(".strip")?.replaceChildren("The picture is not beside this page: keep the folder previews/ with it."));
    fit();
    return crop;
  };
  const strip = scan => !hasPicture(scan) ? [] : !hasSlices(scan) ? [element("img", { src: pictureOf(scan), alt: `Slices of ${scan.id}` })]
    : scan.shown.map((_, n) => element("button", { type: "button", class: "slice", title: "Enlarge", "aria-label": `Enlarge ${nameOf(scan, n)}`, onclick: () => enlarge(n) },
      slice(scan, n), element("span", { class: "caption" }, scan.of > 1 ? nameOf(scan, n) : "")));
  const enlarge = n => {
    const scan = state.shown[state.open];
    state.large = n;
    find("large-title").textContent = `${scan.id}${scan.of > 1 ? `, ${nameOf(scan, n)}` : ""}`;
    find("large-slice").replaceChildren(slice(scan, n));
    if (!find("large").open) find("large").showModal();
  };
  const stepLarge = step => { if (state.large + step in state.shown[state.open].shown) enlarge(state.large + step); };
  const factsOf = scan => [
    ["Status", scan.status.replaceAll("_", " ")],
    ["Lesion size", lesionText(scan) + (scan.lung === null ? "" : `, ${percent(scan.lung)} of the lung`)],
    ["Lesions", grouped(scan.lesions)],
    ["Expected Dice", qualityText(scan) === "–" ? "–" : `${qualityText(scan)} (nine of ten lie from ${score(scan.low)} to ${score(scan.high)}${isForeign(scan) ? "; holds for scans like the training data, not for this one" : ""})`],
    ["Drift score", scan.drift === null ? "–" : `${score(scan.drift)} (above 1: unlike the training data)`],
    ["Slices", scan.slices === null ? "–" : `${grouped(scan.slices)}${scan.height === null ? "" : ` of ${scan.width} × ${scan.height} px`}`],
    ["Spacing", scan.spacing ? `${scan.spacing.map(step => Number(step.toFixed(2))).join(" × ")} mm (slices, rows, columns)` : "–"],
    ["Flags", labelsOf(scan).join(", ") || "–"],
    ...(!scan.sha ? [] : [["To correct it", "Press c, export verdicts.csv into OUTPUT/review/, then run: lesions review OUTPUT"]]),
  ];
  const profile = scan => scan.profile && scan.lesions ? [element("figcaption", {}, "Lesion along the slices, in the order of reading"),
    element("div", { class: "profile", role: "img", "aria-label": "Lesion along the slices" },
      ...[...scan.profile].map(height => element("span", { style: `height:${data.heights.indexOf(height) / (data.heights.length - 1) * 100}%` })))] : [];

  const legend = scan => [
    !hasSlices(scan) ? "Lesions are outlined in red." : state.outlined ? "Lesions red, lungs blue-green." : "",
    scan.of > 1 ? (scan.lesions ? "The slice with the largest lesion, and those a quarter from either end of the lesions."
      : "The middle slice, and those a quarter from either end.") : "",
    scan.oriented ? "R: the patient's right." : "Which side is the patient's right is not known.",
    hasSlices(scan) ? "Click a slice to enlarge it." : ""].join(" ");
  const drawOutlines = () => {
    const scan = state.shown[state.open];
    document.body.classList.toggle("plain", !state.outlined);
    find("legend").textContent = legend(scan);
    find("contours").setAttribute("aria-pressed", String(state.outlined));
  };
  const drawScan = () => {
    const scan = state.shown[state.open], verdict = verdictOf(scan);
    find("scan-title").textContent = scan.id;
    find("strip").replaceChildren(...strip(scan));
    find("legend").hidden = !hasPicture(scan);
    find("contours").hidden = !hasPicture(scan) || !hasSlices(scan);
    drawOutlines();
    find("facts").replaceChildren(...factsOf(scan).flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
    find("profile").replaceChildren(...profile(scan));
    find("remarks").textContent = cells.note(scan);
    for (const button of document.querySelectorAll("[data-verdict]")) {
      button.hidden = !scan.sha;
      button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
    }
    find("before").disabled = state.open === 0;
    find("after").disabled = state.open === state.shown.length - 1;
  };
  const open = index => {
    state.open = index;
    drawScan();
    if (!find("scan").open) find("scan").showModal();
  };
  const move = step => {
    const index = state.open + step;
    if (index < 0 || index >= state.shown.length) return;
    state.page = Math.floor(index / PER_PAGE);
    open(index);
  };
  const decide = verdict => {
    const scan = state.shown[state.open];
    if (!scan.sha) return;
    verdicts.decide(scan, verdict);
    drawScan();
  };
  const toggle = () => { state.outlined = !state.outlined; drawOutlines(); };
  const closed = () => { // the focus goes to the row of the scan, or where that was if a verdict took it off the list
    const scan = state.shown[state.open];
    draw();
    const index = state.shown.includes(scan) ? state.shown.indexOf(scan) : Math.min(state.open, state.shown.length - 1);
    find("table").tBodies[0].rows[index - state.page * PER_PAGE]?.querySelector(".scan button").focus();
  };

  for (const id of ["show", "flag"]) find(id).addEventListener("change", () => { state.page = 0; state.sort = null; draw(); });
  find("text").addEventListener("input", () => { state.page = 0; draw(); });
  find("controls").addEventListener("submit", event => event.preventDefault());
  find("previous").addEventListener("click", () => { state.page -= 1; draw(); });
  find("next").addEventListener("click", () => { state.page += 1; draw(); });
  find("close").addEventListener("click", () => find("scan").close());
  find("scan").addEventListener("close", closed);
  find("large-close").addEventListener("click", () => find("large").close());
  find("large-slice").addEventListener("click", () => find("large").close());
  find("large").addEventListener("close", () => find("strip").querySelectorAll("button")[state.large]?.focus());
  find("large").addEventListener("keydown", event => {
    const actions = { o: toggle, ArrowRight: () => stepLarge(1), ArrowLeft: () => stepLarge(-1) };
    if (!event.ctrlKey && !event.metaKey && !event.altKey && Object.hasOwn(actions, event.key)) actions[event.key]();
  });
  find("before").addEventListener("click", () => move(-1));
  find("after").addEventListener("click", () => move(1));
  find("contours").addEventListener("click", toggle);
  for (const button of document.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => decide(button.dataset.verdict));
  for (const button of document.querySelectorAll("[data-flag]")) button.addEventListener("click", () => {
    find("show").value = "all";
    find("flag").value = button.dataset.flag;
    state.page = 0;
    draw();
    find("scans").scrollIntoView();
  });
  find("scan").addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = { a: () => decide("accept"), c: () => decide("correct"), r: () => decide("reject"), o: toggle,
      n: () => move(1), j: () => move(1), ArrowRight: () => move(1), p: () => move(-1), k: () => move(-1), ArrowLeft: () => move(-1) };
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });
  find("export").addEventListener("click", verdicts.save);
  if (!scans.some(scan => scan.rank !== null)) find("show").value = "all";
  draw();
})();

"use strict";
// Verdicts of a reader on masks, of the report and of the viewer: kept by this browser per collection and model, and
// exported as verdicts.csv. `scans` have an id and the digest (sha) of their mask; a verdict on another mask does not
// count. One that the reader takes back is kept as "", which withdraws it also where it was exported before. `onChange`
// is called when another tab changed them.
const keptVerdicts = (name, scans, onChange) => {
  const store = `lesions-verdicts-${name}`;
  let kept = {}, isStored = true;
  const read = () => {
    if (!isStored) return; // what is stored lacks what could not be written
    try {
      kept = Object(JSON.parse(localStorage.getItem(store) || "{}"));
    } catch { /* a private window, or damaged: as it is */ }
  };
  const keptOf = scan => {
    const found = Object.hasOwn(kept, scan.id) ? kept[scan.id] : null;
    return found && found.sha === scan.sha ? found : null;
  };
  const verdictOf = scan => keptOf(scan)?.verdict || null;
  const decide = (scan, verdict) => {
    read(); // another tab may have added some
    const isTakenBack = verdictOf(scan) === verdict;
    kept[scan.id] = { verdict: isTakenBack ? "" : verdict, sha: scan.sha, at: new Date().toISOString() };
    try { localStorage.setItem(store, JSON.stringify(kept)); } catch { isStored = false; /* a private window: kept until it is closed */ }
  };
  const decided = () => scans.filter(verdictOf);
  const canSave = () => scans.some(keptOf);
  const quoted = text => `"${String(text).replaceAll('"', '""')}"`;
  const noFormula = text => /^[=+\-@\t]/.test(text) ? `'${text}` : text; // a spreadsheet would run it
  const save = () => {
    const cells = scan => [noFormula(scan.id), keptOf(scan).verdict, scan.sha, keptOf(scan).at, ""];
    const lines = scans.filter(keptOf).map(scan => cells(scan).map(quoted).join(","));
    const text = ["scan_id,verdict,mask_sha256,decided_at,comment", ...lines, ""].join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "verdicts.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  addEventListener("storage", event => {
    if (event.key !== store && event.key !== null) return;
    read();
    onChange();
  });
  read();
  return { of: verdictOf, decide, decided, canSave, save };
};

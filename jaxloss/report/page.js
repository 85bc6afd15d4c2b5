(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const columns = new Map(data.columns.map((column) => [column.key, column]));
  const total = data.shown;

  /* One element; what comes from the data is only ever set as text. */
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /* A number may be missing, which JSON says as null. */
  function number(value, digits) {
    if (value === null) return "–";
    if (Math.abs(value) > 1e308) return value > 0 ? "∞" : "−∞";
    if (digits && Math.abs(value) < 1e5) return value.toFixed(digits).replace("-", "−");
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size >= 1e5 || size < 5e-4) return value.toExponential(1).replace("-", "−");
    return value.toFixed(size < 10 ? 3 : size < 1000 ? 1 : 0).replace("-", "−");
  }

  function shown(column, row) {
    const value = column.values[row];
    if (value === null) return "–";
    if (column.kind === "number") return number(value, column.digits);
    if (column.names) return column.names[value];
    return String(value);
  }

  /* ---- Which rows, in which order ------------------------------------------------ */

  const start = { query: "", given: "", suggested: "", suspects: false, key: "rank", down: false, page: 0 };
  const state = { ...start, size: 25, view: "table", mark: -1 };
  let rows = new Int32Array(0);

  const orders = new Map();
  /* All rows by one column, ascending, missing values apart; made once for each column. */
  function order(key) {
    if (!orders.has(key)) {
      const { values, kind, names } = columns.get(key);
      const collator = new Intl.Collator("en", { numeric: true });
      let keys = values;
      if (names) {
        const places = names.map((_, i) => i).sort((a, b) => collator.compare(names[a], names[b]));
        const place = new Int32Array(names.length);
        places.forEach((name, i) => { place[name] = i; });
        keys = values.map((value) => (value === null ? null : place[value]));
      }
      const present = [], missing = [];
      for (let row = 0; row < total; row++) (values[row] === null ? missing : present).push(row);
      const compare = kind === "string"
        ? (a, b) => collator.compare(keys[a], keys[b]) || a - b
        : (a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b);
      orders.set(key, { keys, present: present.sort(compare), missing });
    }
    return orders.get(key);
  }

  /* The descending order keeps equal rows in the order of suspicion. */
  function descending({ keys, present }) {
    const turned = [];
    for (let end = present.length; end > 0;) {
      let begin = end - 1;
      while (begin > 0 && keys[present[begin - 1]] === keys[present[end - 1]]) begin--;
      for (let i = begin; i < end; i++) turned.push(present[i]);
      end = begin;
    }
    return turned;
  }

  let haystacks = null;
  function haystack(row) {
    haystacks ??= new Array(total);
    haystacks[row] ??= data.columns
      .filter((column) => column.kind !== "number" && column.key !== "rank")
      .map((column) => shown(column, row))
      .concat(data.text ? [data.text[row]] : [])
      .join("\n").toLowerCase();
    return haystacks[row];
  }

  function select() {
    const sorted = order(state.key);
    const candidates = (state.down ? descending(sorted) : sorted.present).concat(sorted.missing);
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const given = state.given === "" ? -1 : Number(state.given);
    const suggested = state.suggested === "" ? -1 : Number(state.suggested);
    const labels = columns.get("given").values, others = columns.get("suggested")?.values;
    rows = candidates.filter((row) =>
      (!state.suspects || data.suspect[row]) &&
      (given < 0 || labels[row] === given) &&
      (suggested < 0 || others[row] === suggested) &&
      words.every((word) => haystack(row).includes(word)));
  }

  /* ---- The table and the gallery: only the rows of this page are in the document -- */

  function label(name, className) {
    const node = element("span", `label ${className}`, name);
    node.title = name;  // it may be cut
    return node;
  }
  function suggestion(row) {
    const other = columns.get("suggested");
    if (other.values[row] === null) return document.createTextNode("–");
    const same = other.values[row] === columns.get("given").values[row];
    return label(shown(other, row), same ? "same" : "other");
  }
  function picture(row) {
    const image = element("img", data.pixelated ? "pixel" : "");
    image.src = data.thumbnails[row];
    image.alt = `Sample ${shown(columns.get("sample"), row)}`;
    return image;
  }

  function cell(column, row) {
    const node = element("td", column.kind === "number" || column.key === "rank" ? "number" : "");
    node.dataset.label = column.label;
    if (column.key === "suggested") node.append(suggestion(row));
    else if (column.key === "given") node.append(label(shown(column, row), ""));
    else if (column.key === "rank") {
      node.classList.add("rank");
      node.textContent = shown(column, row);
      if (data.suspect[row]) node.prepend(element("span", "dot", "●"), element("span", "hidden", "suspect, rank "));
    } else if (column.key === "score" && column.span) {
      const bar = element("span", "bar", shown(column, row));
      const share = (column.values[row] - column.span[0]) / (column.span[1] - column.span[0]);
      bar.style.setProperty("--share", `${Math.max(0, Math.min(1, share)) * 100}%`);
      node.append(bar);
    } else {
      node.textContent = shown(column, row);
      if (column.key === "sample") node.classList.add("id");
    }
    return node;
  }

  function tableRow(row) {
    const line = element("tr", row === state.mark ? "mark" : "");
    line.dataset.row = row;
    for (const column of data.columns) {
      line.append(cell(column, row));
      if (column.key !== "sample") continue;
      if (data.thumbnails) {
        const place = element("td", "picture");
        if (row < data.thumbnails.length) place.append(picture(row));
        line.append(place);
      }
      if (data.text) {
        const place = element("td", "text", data.text[row]);
        place.dataset.label = "Text";
        line.append(place);
      }
    }
    return line;
  }

  function card(row) {
    const item = element("li", data.suspect[row] ? "suspect" : "");
    if (row === state.mark) item.classList.add("mark");
    item.dataset.row = row;
    item.append(row < data.thumbnails.length ? picture(row) : element("div", "none", "not on this page"));
    const labels = element("div", "labels");
    labels.append(label(shown(columns.get("given"), row), ""));
    if (columns.has("suggested")) labels.append("→ ", suggestion(row));
    item.append(labels);
    const facts = ["score", "loss"].filter((key) => columns.has(key))
      .map((key) => `${columns.get(key).label.toLowerCase()} ${shown(columns.get(key), row)}`);
    item.append(element("div", "facts", [`#${shown(columns.get("sample"), row)}`, ...facts].join(" · ")));
    if (data.text) item.append(element("div", "facts", data.text[row]));
    return item;
  }

  function head() {
    const cells = [];
    for (const column of data.columns) {
      const node = element("th", column.kind === "number" || column.key === "rank" ? "number" : "");
      node.scope = "col";
      if (column.key === state.key) node.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      const button = element("button", "", column.label);
      button.type = "button";
      button.title = column.help;
      button.dataset.key = column.key;
      node.append(button);
      cells.push(node);
      if (column.key !== "sample") continue;
      if (data.thumbnails) cells.push(element("th", "", "Image"));
      if (data.text) cells.push(element("th", "", "Text"));
    }
    at("head").replaceChildren(...cells);
  }

  function render() {
    const pages = Math.max(1, Math.ceil(rows.length / state.size));
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    const from = state.page * state.size;
    const visible = Array.from(rows.slice(from, from + state.size));
    const gallery = state.view === "gallery";
    at("body").replaceChildren(...(gallery ? [] : visible.map(tableRow)));
    at("gallery").replaceChildren(...(gallery ? visible.map(card) : []));
    at("gallery").hidden = !gallery || !rows.length;
    at("table").hidden = gallery || !rows.length;
    at("empty").hidden = rows.length > 0;
    at("pager").hidden = rows.length === 0;
    at("count").textContent = rows.length
      ? `${number(from + 1)}–${number(from + visible.length)} of ${number(rows.length)} samples` +
        (rows.length < total ? `, chosen from ${number(total)}` : "")
      : `0 of ${number(total)} samples`;
    at("page").value = state.page + 1;
    at("page").max = pages;
    at("pages").textContent = number(pages);
    for (const id of ["first", "previous"]) at(id).disabled = state.page === 0;
    for (const id of ["next", "last"]) at(id).disabled = state.page === pages - 1;
  }

  function refresh(change = {}) {
    Object.assign(state, { page: 0, mark: -1 }, change);
    select();
    render();
  }
  function turn(page) {
    state.page = page;
    render();
    at("scroll").scrollTop = 0;
    if (at("samples").getBoundingClientRect().top < 0) at("tools").scrollIntoView();
  }

  function choose(change) {
    Object.assign(state, start, change);
    for (const key of ["query", "given", "suggested"]) if (at(key)) at(key).value = state[key];
    at("suspects").checked = state.suspects;
    head();
    refresh();
    at("samples").scrollIntoView();
    at("scroll").focus({ preventScroll: true });
  }
  function reveal(row) {
    Object.assign(state, start);
    at("tools").reset();
    at("size").value = state.size;
    head();
    select();
    state.mark = row;
    turn(Math.floor(rows.indexOf(row) / state.size));
    document.querySelector(".mark")?.scrollIntoView({ block: "center" });
  }

  function options(id) {
    const column = columns.get(id);
    if (!at(id) || !column) return;
    const counts = new Map();
    for (const value of column.values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
    for (const index of order(id).present.map((row) => column.values[row]).filter((v, i, all) => v !== all[i - 1])) {
      const option = element("option", "", `${column.names[index]} (${number(counts.get(index))})`);
      option.value = index;
      at(id).append(option);
    }
  }

  function listen() {
    let wait = 0;
    at("query").addEventListener("input", (event) => {
      clearTimeout(wait);
      wait = setTimeout(() => refresh({ query: event.target.value }), 120);
    });
    for (const id of ["given", "suggested"]) {
      at(id)?.addEventListener("change", (event) => refresh({ [id]: event.target.value }));
    }
    at("suspects").addEventListener("change", (event) => refresh({ suspects: event.target.checked }));
    for (const button of document.getElementsByName("view")) {
      button.addEventListener("change", () => { state.view = button.value; render(); });
    }
    at("tools").addEventListener("submit", (event) => event.preventDefault());
    at("tools").addEventListener("reset", () => {
      clearTimeout(wait);
      Object.assign(state, start, { view: "table" });
      head();
      refresh();
    });
    at("clear").addEventListener("click", () => { at("tools").reset(); at("query").focus(); });
    at("head").addEventListener("click", (event) => {
      const key = event.target.dataset.key;
      if (!key) return;
      /* A first click shows what is most of interest: the large numbers, or A before Z. */
      const first = columns.get(key).kind === "number";
      const change = { key, down: key === state.key ? !state.down : first };
      Object.assign(state, change);
      head();
      refresh(change);
      at("head").querySelector(`[aria-sort] button`).focus();
    });
    at("first").addEventListener("click", () => turn(0));
    at("previous").addEventListener("click", () => turn(state.page - 1));
    at("next").addEventListener("click", () => turn(state.page + 1));
    at("last").addEventListener("click", () => turn(Infinity));
    at("page").addEventListener("change", (event) => turn((Math.floor(Number(event.target.value)) || 1) - 1));
    at("size").addEventListener("change", (event) => refresh({ size: Number(event.target.value) }));
    for (const button of document.querySelectorAll("button[data-given]")) {
      button.addEventListener("click", () => choose({ ...button.dataset, suspects: true }));
    }
    document.addEventListener("keydown", (event) => {
      const typing = /INPUT|SELECT|TEXTAREA/.test(event.target.tagName);
      if (event.key === "/" && !typing) { event.preventDefault(); at("query").focus(); }
    });
  }

  /* ---- Charts --------------------------------------------------------------------- */

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  /* Plotly reads a little HTML in every text. */
  const plain = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const short = (text, most = 22) => (Array.from(text).length > most ? `${Array.from(text).slice(0, most - 1).join("")}…` : text);
  const settings = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

  let paper;  // the width of the charts in print, in pixels
  function layout(more) {
    const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"), tickcolor: color("--line"), automargin: true };
    const { xaxis = {}, yaxis = {}, ...rest } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif", size: 13, color: color("--ink") },
      margin: { l: 56, r: 16, t: 16, b: 52 }, hovermode: "closest", dragmode: false,
      hoverlabel: { bgcolor: color("--surface"), bordercolor: color("--line"), font: { color: color("--ink") }, align: "left" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemsizing: "constant" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--accent") },
      xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, axis,
      autosize: !paper, width: paper, ...rest,
    };
  }

  function hover(row) {
    const lines = [`<b>Sample ${plain(shown(columns.get("sample"), row))}</b>`];
    for (const key of ["given", "suggested", "score", "loss"]) {
      const column = columns.get(key);
      if (column) lines.push(`${column.label}: ${plain(short(shown(column, row), 40))}`);
    }
    if (data.text) lines.push(plain(short(data.text[row], 60)));
    return lines.join("<br>");
  }

  function drawMap() {
    const { map } = data, node = at("map-chart"), traces = [];
    if (map.density) {
      traces.push({
        type: "heatmap", x: map.density.x, y: map.density.y, z: map.density.z.map((line) => line.map((n) => (n ? Math.log10(n) : null))),
        text: map.density.z.map((line) => line.map(number)), hovertemplate: "%{text} samples<extra></extra>",
        colorscale: [[0, color("--accent-soft")], [1, color("--series")]], showscale: false, name: "all samples",
      });
    }
    for (const [suspect, name, shade, symbol] of [[0, "not suspected", "--series", "circle"], [1, "suspect", "--series-alarm", "diamond"]]) {
      const chosen = map.rows.map((row, i) => [row, i]).filter(([row]) => data.suspect[row] === suspect);
      if (!chosen.length) continue;
      traces.push({
        type: "scatter", mode: "markers", name: `${name} (${number(chosen.length)} shown)`,
        x: chosen.map(([, i]) => map.x[i]), y: chosen.map(([, i]) => map.y[i]), customdata: chosen.map(([row]) => row),
        text: chosen.map(([row]) => hover(row)), hovertemplate: "%{text}<extra></extra>",
        marker: { color: color(shade), symbol, size: chosen.length > 800 ? 5 : 7, opacity: 0.75, line: { width: 0.5, color: color("--surface") } },
      });
    }
    const titles = (text) => ({ title: { text, standoff: 14 }, zeroline: false });
    Plotly.react(node, traces, layout({ showlegend: true, xaxis: titles(map.xtitle), yaxis: titles(map.ytitle), margin: { l: 56, r: 16, t: 40, b: 52 } }), settings);
    node.removeAllListeners?.("plotly_click");
    node.on("plotly_click", ({ points }) => points[0].customdata !== undefined && reveal(points[0].customdata));
  }

  function drawLosses() {
    const { losses } = data, node = at("losses-chart");
    const across = Math.max(1, Math.min(losses.panels.length, Math.floor((paper ?? node.clientWidth) / 220)));
    const down = Math.ceil(losses.panels.length / across), edge = { l: 40, r: 12, t: 58, b: 28 }, plot = 96, between = 54;
    const inner = down * plot + (down - 1) * between, gap = 0.055, height = plot / inner;
    node.style.height = `${inner + edge.t + edge.b}px`;
    const middles = losses.edges.slice(1).map((edge, i) => (losses.edges[i] + edge) / 2);
    const traces = [], rest = {}, notes = [];
    losses.panels.forEach((panel, i) => {
      const suffix = i ? i + 1 : "", column = i % across, line = Math.floor(i / across);
      const left = column / across + (column ? gap / 2 : 0), right = (column + 1) / across - (column < across - 1 ? gap / 2 : 0);
      const bottom = Math.max(0, 1 - height - line * (plot + between) / inner), top = Math.min(1, bottom + height);
      for (const [name, counts, shade] of [["not suspected", panel.others, "--series"], ["suspect", panel.suspects, "--series-alarm"]]) {
        traces.push({
          type: "bar", x: middles, y: counts, xaxis: `x${suffix}`, yaxis: `y${suffix}`, marker: { color: color(shade) }, name, legendgroup: name,
          showlegend: i === 0, customdata: losses.names, hovertemplate: `%{customdata}: %{y} ${name}<extra>${plain(short(panel.name))}</extra>`,
        });
      }
      const base = layout({}).axis;
      rest[`xaxis${suffix}`] = { ...base, domain: [left, right], anchor: `y${suffix}`, tickvals: losses.ticks, ticktext: losses.ticknames, range: [losses.edges[0], losses.edges.at(-1)], showgrid: false, tickfont: { size: 11, color: color("--soft") } };
      rest[`yaxis${suffix}`] = { ...base, domain: [bottom, top], anchor: `x${suffix}`, nticks: 4, rangemode: "tozero", tickfont: { size: 11, color: color("--soft") } };
      notes.push({ text: `<b>${plain(short(panel.name))}</b>`, x: left, y: top, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false });
    });
    Plotly.react(node, traces, layout({ ...rest, barmode: "stack", bargap: 0.05, annotations: notes, legend: { orientation: "h", y: 1 + 26 / inner, yanchor: "bottom", x: 0 }, margin: edge }), settings);
  }

  function drawConfusion() {
    const { confusion } = data, node = at("confusion-chart"), many = confusion.classes.length > 16;
    const names = confusion.classes.map((index) => plain(short(data.classes[index], many ? 14 : 18)));
    const places = names.map((_, i) => i);
    const changed = confusion.counts.map((line, i) => line.map((n, j) => (i === j || !n ? null : n)));
    const most = Math.max(1, ...changed.flat().map((n) => n ?? 0));
    const notes = many ? [] : confusion.counts.flatMap((line, i) => line.map((n, j) => ({
      x: j, y: i, text: n ? number(n) : "", showarrow: false,
      font: { size: 12, color: i === j ? color("--soft") : n > 0.55 * most ? color("--surface") : color("--ink") },
    }))).filter((note) => note.text);
    const axis = (text) => ({ title: { text, standoff: 14 }, tickvals: places, ticktext: names, showgrid: false, zeroline: false, tickangle: "auto", range: [-0.5, names.length - 0.5] });
    Plotly.react(node, [{
      type: "heatmap", x: places, y: places, z: changed, zmin: 0, zmax: most, xgap: 1, ygap: 1, showscale: many, hoverongaps: false,
      colorbar: { thickness: 10, outlinewidth: 0, title: { text: "samples", side: "right" } },
      colorscale: [[0, color("--alarm-soft")], [1, color("--series-alarm")]],
      customdata: confusion.classes.map((i) => confusion.classes.map((j) => [plain(data.classes[i]), plain(data.classes[j])])),
      hovertemplate: "given %{customdata[0]}<br>suggested %{customdata[1]}<br>%{z} samples<extra></extra>",
    }], layout({ xaxis: axis("suggested"), yaxis: { ...axis("given"), range: [names.length - 0.5, -0.5] }, annotations: notes }), settings);
    node.removeAllListeners?.("plotly_click");
    node.on("plotly_click", ({ points: [{ x, y }] }) => choose({ given: String(confusion.classes[y]), suggested: String(confusion.classes[x]) }));
  }

  function draw() {
    if (data.map) drawMap();
    if (data.losses) drawLosses();
    if (data.confusion) drawConfusion();
  }

  function theme() {
    const root = document.documentElement, dark = window.matchMedia("(prefers-color-scheme: dark)");
    at("theme").addEventListener("click", () => {
      const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      draw();
    });
    dark.addEventListener("change", draw);
    let before;
    window.addEventListener("beforeprint", () => {
      before = root.dataset.theme;
      root.dataset.theme = "light";
      paper = 680;
      draw();
    });
    window.addEventListener("afterprint", () => {
      if (before) root.dataset.theme = before;
      else delete root.dataset.theme;
      paper = undefined;
      draw();
    });
  }

  options("given");
  options("suggested");
  head();
  select();
  render();
  listen();
  theme();
  /* The rows can be read before the charts are there. */
  setTimeout(() => { draw(); document.documentElement.dataset.ready = "true"; }, 0);
})();

"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const plots = [...document.querySelectorAll(".plot")];
const unused = ["zoomIn2d", "zoomOut2d", "autoScale2d", "select2d", "lasso2d"];
const options = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: unused,
  showSendToCloud: false, // Plotly's button that hands the data to a server of theirs
};

// Plotly's style for every figure; what a figure sets itself stays.
function template() {
  const [ink, soft, grid, card] = dark.matches
    ? ["#e4e8ee", "#98a2b1", "#323843", "#1d2127"]
    : ["#1d2330", "#5d6675", "#e6e9ee", "#ffffff"];
  const clear = "rgba(0,0,0,0)";
  const axis = {
    gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, title: { standoff: 10 },
    exponentformat: "power",
  };
  return { layout: {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
    paper_bgcolor: clear, plot_bgcolor: clear, margin: { l: 60, r: 24, t: 34, b: 48 },
    colorway: ["#4c86c6", "#d9952b", "#3f9a5a", "#9a6cc0", "#d0453e", "#3aa3a0", "#8d949e", "#c06a94"],
    xaxis: axis, yaxis: axis, hovermode: "closest",
    scene: { xaxis: { ...axis, backgroundcolor: clear }, yaxis: { ...axis, backgroundcolor: clear },
             zaxis: { ...axis, backgroundcolor: clear } },
    hoverlabel: { bgcolor: card, bordercolor: soft, font: { color: ink }, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, xanchor: "left" },
    modebar: { bgcolor: clear, color: soft, activecolor: ink },
  } };
}

async function draw() {
  for (const plot of plots) {
    await new Promise((next) => setTimeout(next)); // the page answers between two figures
    try {
      const { data, layout } = JSON.parse(plot.previousElementSibling.textContent);
      await Plotly.newPlot(plot, data, { ...layout, template: template() }, options);
      plot.dataset.drawn = "";
    } catch (error) {
      plot.className = "failed";
      plot.textContent = `This browser cannot draw the figure: ${error.message}`;
    }
  }
}

dark.addEventListener("change", () => {
  for (const plot of plots) if ("drawn" in plot.dataset) Plotly.relayout(plot, { template: template() });
});

// A click on a head sorts by that column, a second one the other way round; what is empty stays last.
for (const head of document.querySelectorAll("th")) {
  head.firstElementChild.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    const order = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort((one, two) => {
      const [a, b] = [key(one), key(two)];
      return a === "" || b === "" ? (a === "") - (b === "") : sign * order(a, b);
    }));
  });
}

draw();

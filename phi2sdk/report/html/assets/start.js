// Start the parts of the page, from top to bottom.

themeSwitch();
folds();
targetChips();
document.querySelectorAll("table.sortable").forEach(sortable);
measures();
choiceCharts();
latencyCharts();
agreementCharts();
promptList();
whenShownChanges.push(drawAll);
watchWidth();
drawSoon();
document.documentElement.dataset.ready = "yes";

// In the order in which a reader needs them.

themeSwitch();
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

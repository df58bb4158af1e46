/** Puts the page's parts together. */

import { AnalysisPanel } from "./analysis_panel.js";
import { startBatch } from "./batch_view.js";
import { one } from "./elements.js";
import { startHistory } from "./history_view.js";
import { switchLanguage, t, translatePage } from "./i18n.js";
import { startKeyForm } from "./key_form.js";
import { loadModels, startModels } from "./models.js";
import { newsForm } from "./news_form.js";
import { reportForm } from "./report_form.js";
import { openTab, startTabs } from "./tabs.js";

translatePage();
const language = one("#language");
language.addEventListener("click", switchLanguage);
const nameLanguage = () => (language.textContent = t("other_language"));
document.addEventListener("redraw", nameLanguage);
nameLanguage();

startModels();
startKeyForm(loadModels);
startTabs();
const panels = {
  news: new AnalysisPanel(one("#news"), newsForm(one("#news-form"))),
  report: new AnalysisPanel(one("#report"), reportForm(one("#report-form"))),
};
startBatch();
startHistory((entry) => {
  openTab(entry.request.task);
  panels[entry.request.task].show(entry);
  one(`#tab-${entry.request.task}`).focus();
});

/** Invented headlines and an invented report, to try the page with. */

/** @type {{title: {zh: string, en: string}, request: object}[]} */
export const NEWS_EXAMPLES = [
  {
    title: { zh: "利率不变", en: "Rates on hold" },
    request: { task: "news", text: "某主要央行宣布维持基准利率不变，并称未来的步伐取决于数据。", importance: 4 },
  },
  {
    title: { zh: "通胀高于预期", en: "Inflation above consensus" },
    request: {
      task: "news",
      text: "某国公布的月度消费者物价年率为3.4%，高于市场预期的3.1%。",
      importance: 5,
      figures: { actual: 3.4, consensus: 3.1, previous: 3.2, unit: "%", indicator: "消费者物价年率" },
      context: { ticker: "XAUUSD", window_min: 120, pre_return: 0.0018, volatility: 0.0042, typical_move: 0.0009 },
    },
  },
  {
    title: { zh: "就业不及预期", en: "Jobs below consensus" },
    request: {
      task: "news",
      text: "某国新增就业人口公布为9.2万人，市场预期15万人，前值修正为13.1万人。",
      importance: 5,
      figures: { actual: 9.2, consensus: 15, previous: 13.1, unit: "万人", indicator: "新增就业人口" },
    },
  },
  {
    title: { zh: "局势缓和", en: "Tensions ease" },
    request: { task: "news", text: "两国代表在会谈后表示，停火安排将如期生效，边境贸易逐步恢复。" },
  },
];

export const REPORT_EXAMPLE = {
  task: "report",
  question: "公司本年度营业收入增长的主要原因是什么？",
  passages: [
    { text: "本年度公司实现营业收入48.6亿元，同比增长12.3%，主要由于海外订单增加以及新产线投产。", source: "示例公司年度报告", page: 12 },
    { text: "报告期内研发费用为3.1亿元，占营业收入的6.4%，研发人员共860人。", source: "示例公司年度报告", page: 27 },
    { text: "公司面临汇率波动的风险，已通过远期合约对冲部分外币收入。", source: "示例公司年度报告", page: 41 },
  ],
};

//! The main numbers as a picture (SVG 1.1).

use crate::results::Results;
use crate::subject::Program;
use crate::table::{self, ROWS, Row};
use std::fmt::Write as _;

const WIDTH: usize = 960;
const COLUMNS: usize = 2;
const PANEL: usize = WIDTH / COLUMNS;
/// Where bars begin, how long they may be, and how high a line is.
const LABEL: usize = 120;
const BAR: usize = 270;
const LINE: usize = 20;
const HEAD: usize = 54;

/// The lines of the table that are drawn.
const DRAWN: [(&str, &str); 6] = [
    ("tcp-1", "gbit_per_second"),
    ("tcp-4", "gbit_per_second"),
    ("tcp-1-plain", "gbit_per_second"),
    ("tcp-1", "cpu_seconds_per_gb"),
    ("udp-64", "delivered_per_second"),
    ("loaded", "p99_us"),
];

/// Draws them.
pub(crate) fn svg(results: &Results) -> String {
    let is_drawn = |row: &&Row| DRAWN.contains(&(row.measure, row.number));
    let subjects = table::subjects(results);
    let panels: Vec<_> = ROWS.iter().filter(is_drawn).filter_map(|row| Panel::new(row, results, &subjects)).collect();
    let height = HEAD + subjects.len() * LINE + 16;
    let rows = panels.len().div_ceil(COLUMNS);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        rows * height
    );
    for (at, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, at % COLUMNS * PANEL, at / COLUMNS * height);
    }
    svg.push_str("</svg>\n");
    svg
}

struct Panel {
    row: &'static Row,
    bars: Vec<(&'static str, f64)>,
}

impl Panel {
    fn new(row: &'static Row, results: &Results, subjects: &[&'static str]) -> Option<Self> {
        let bars = subjects.iter().filter_map(|subject| Some((*subject, row.of(results, subject)?.median)));
        let bars: Vec<_> = bars.collect();
        (!bars.is_empty()).then_some(Self { row, bars })
    }

    fn draw(&self, svg: &mut String, left: usize, top: usize) {
        let most = self.bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let better = match self.row.more_is_better {
            Some(true) => "more is better",
            Some(false) => "less is better",
            None => "",
        };
        let (x, title) = (left + 12, self.row.title);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{title}</text>\
             <text x=\"{x}\" y=\"{}\" font-size=\"11\" fill=\"#5b6470\">{better}</text>",
            top + 26,
            top + 42
        );
        for (at, (subject, value)) in self.bars.iter().enumerate() {
            let y = top + HEAD + at * LINE;
            let length = if most > 0.0 { value / most * BAR as f64 } else { 0.0 };
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{subject}</text>\
                 <rect x=\"{}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                left + LABEL,
                y + 13,
                left + LABEL + 6,
                y + 2,
                LINE - 5,
                color(subject),
                (left + LABEL + 12) as f64 + length,
                y + 13,
                self.row.shown(*value)
            );
        }
    }
}

/// Ours in blue, peers in grey, what is no tunnel in light colours.
fn color(subject: &str) -> &'static str {
    match Program::ALL.into_iter().find(|program| program.name() == subject) {
        Some(Program::Kerntun) => "#1f66d1",
        Some(Program::Forwarder) => "#8fc49a",
        Some(Program::Bare) => "#d5dbe3",
        _ => "#8a94a3",
    }
}

//! Bar charts as SVG.

use std::fmt::Write as _;

/// Bars below each other, on one scale that begins at zero.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What is measured, in which unit, and under which load.
    pub(crate) subtitle: String,
    pub(crate) bars: Vec<Bar>,
    /// Colours, and what they stand for.
    pub(crate) legend: Vec<(&'static str, &'static str)>,
}

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// Lengths from left to right, with their colours.
    pub(crate) parts: Vec<(f64, &'static str)>,
    /// The least and the greatest that was measured of the whole.
    pub(crate) range: (f64, f64),
    /// Its figure.
    pub(crate) text: String,
}

const WIDTH: f64 = 760.0;
const HEAD: f64 = 66.0;
const ROW: f64 = 28.0;
const THICK: f64 = 16.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 180.0;
const LONGEST: f64 = 400.0;

impl Chart {
    /// Draws it.
    pub(crate) fn draw(&self) -> String {
        let height = HEAD + ROW * self.bars.len() as f64 + 40.0;
        let greatest = self.bars.iter().map(|bar| bar.range.1).fold(0.0, f64::max);
        let scale = LONGEST / greatest.max(f64::MIN_POSITIVE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#1e293b\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n\
             <text x=\"20\" y=\"28\" font-size=\"16\" font-weight=\"600\">{title}</text>\n\
             <text x=\"20\" y=\"48\" fill=\"#64748b\">{subtitle}</text>\n",
            title = escaped(&self.title),
            subtitle = escaped(&self.subtitle),
        );
        for (number, bar) in self.bars.iter().enumerate() {
            bar.draw(&mut svg, HEAD + ROW * number as f64, scale);
        }
        let mut left = 20.0;
        let base = height - 14.0;
        for (colour, meaning) in &self.legend {
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.0}\" y=\"{:.0}\" width=\"12\" height=\"12\" rx=\"2\" \
                 fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{base:.0}\" fill=\"#475569\">{}</text>",
                base - 11.0,
                left + 18.0,
                escaped(meaning)
            );
            left += 40.0 + 7.0 * meaning.chars().count() as f64;
        }
        svg + "</svg>\n"
    }
}

impl Bar {
    fn draw(&self, svg: &mut String, top: f64, scale: f64) {
        let text = top + THICK - 3.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            escaped(&self.label)
        );
        let mut left = LEFT;
        for (length, colour) in &self.parts {
            let width = length * scale;
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{THICK}\" \
                 fill=\"{colour}\"/>"
            );
            left += width;
        }
        let (least, greatest) = (LEFT + self.range.0 * scale, LEFT + self.range.1 * scale);
        let middle = top + THICK / 2.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{least:.1} {middle:.1}H{greatest:.1}M{least:.1} {:.1}v6M{greatest:.1} \
             {:.1}v6\" stroke=\"#0f172a\" fill=\"none\"/>",
            middle - 3.0,
            middle - 3.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            left.max(greatest) + 8.0,
            escaped(&self.text)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

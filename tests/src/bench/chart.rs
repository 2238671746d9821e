//! A chart of a figure against the number of pods, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 48.0;

/// A line through the points, and a broken one for what is aimed at; pods grow to the right, by powers of ten.
pub fn chart(
    title: &str,
    unit: &str,
    points: &[(f64, f64)],
    target: impl Fn(f64) -> f64,
) -> String {
    let aimed: Vec<(f64, f64)> = points.iter().map(|(x, _)| (*x, target(*x))).collect();
    let log = |pods: f64| pods.max(1.0).log10();
    let (left, right) = points
        .iter()
        .map(|(x, _)| log(*x))
        .fold((f64::MAX, f64::MIN), |(l, r), x| (l.min(x), r.max(x)));
    let highest = points.iter().chain(&aimed);
    let top = highest.fold(0.0_f64, |most, (_, y)| most.max(*y)) * 1.15;
    let place = |(pods, value): (f64, f64)| {
        let width = (right - left).max(1e-9);
        (
            MARGIN + (log(pods) - left) / width * (WIDTH - 2.0 * MARGIN),
            HEIGHT - MARGIN - value / top.max(1e-9) * (HEIGHT - 2.0 * MARGIN),
        )
    };
    let line = |points: &[(f64, f64)]| {
        let mut line = String::new();
        for point in points {
            let (x, y) = place(*point);
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        line.trim().to_owned()
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"20\" text-anchor=\"middle\">{title} ({unit}); broken: the target</text>\n",
        WIDTH / 2.0
    );
    for (pods, value) in points {
        let (x, y) = place((*pods, *value));
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#2060a0\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.1}</text>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{pods} pods</text>\n",
            y - 8.0,
            HEIGHT - MARGIN + 18.0
        );
    }
    let _ = write!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#a04020\" stroke-dasharray=\"4 4\"/>\n\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#2060a0\" stroke-width=\"2\"/>\n</svg>\n",
        line(&aimed),
        line(points)
    );
    svg
}

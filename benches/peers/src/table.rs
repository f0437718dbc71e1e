//! The table: a line for each measure, a column for each store, and what ours is in relation to each.

/// Which way a figure is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// A rate.
    Higher,
    /// A time or a size.
    Lower,
}

const NAME: usize = 46;
const COLUMN: usize = 20;

pub(crate) fn head(stores: &[&str]) {
    print!("| {:<NAME$} |", "");
    for store in stores {
        print!(" {store:>COLUMN$} |");
    }
    println!(
        "\n|{:-<1$}|{2}",
        "",
        NAME + 2,
        format!("{:->1$}|", ":", COLUMN + 2).repeat(stores.len())
    );
}

/// Prints the figures, each of the others with how many times better ours is (below 1: worse).
pub(crate) fn line(name: &str, unit: &str, better: Better, figures: &[Option<f64>]) {
    print!("| {:<NAME$} |", format!("{name}, {unit}"));
    let ours = figures.first().copied().flatten();
    for (at, figure) in figures.iter().enumerate() {
        let cell = match (figure, ours) {
            (None, _) => "none".to_owned(),
            (Some(figure), Some(ours)) if at > 0 => {
                let ratio = if better == Better::Higher { ours / figure } else { figure / ours };
                format!("{} ({ratio:.2}\u{d7})", short(*figure))
            }
            (Some(figure), _) => short(*figure),
        };
        print!(" {cell:>COLUMN$} |");
    }
    println!();
}

fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 1.0 => format!("{figure:.1}"),
        figure => format!("{figure:.3}"),
    }
}

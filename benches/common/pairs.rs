//! What a bench is asked to do, and alternating pairs: two measurements one after the other, again and again.

/// The arguments of a bench.
pub struct Flags {
    args: Vec<String>,
    quick: bool,
}

impl Flags {
    /// `None`: the arguments name other benches. `cargo bench` says `--bench`; who does not, wants to see that
    /// everything works, as with `--quick`.
    pub fn of(bench: &str) -> Option<Self> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let is_value = |at: usize| args[at].parse::<f64>().is_ok();
        let mut names = (0..args.len()).filter(|&at| !args[at].starts_with("--") && !is_value(at)).peekable();
        if names.peek().is_some() && !names.any(|at| bench.contains(args[at].as_str())) {
            return None;
        }
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let quick = has("--quick") || has("--test") || !has("--bench");
        Some(Self { args, quick })
    }

    pub fn has(&self, flag: &str) -> bool {
        self.args.iter().any(|arg| arg == flag)
    }

    /// The number behind this flag.
    pub fn value(&self, flag: &str, default: f64, quick_default: f64) -> f64 {
        match self.args.iter().position(|arg| arg == flag) {
            Some(at) => {
                self.args.get(at + 1).and_then(|arg| arg.parse().ok()).expect("a number behind each flag")
            }
            None if self.quick => quick_default,
            None => default,
        }
    }
}

/// Prints each pair and its ratio as it is measured, then medians and quartiles.
pub fn compare(what: &str, pairs: usize, mut pair: impl FnMut() -> (f64, f64)) {
    let (mut ratios, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let (a, b) = pair();
        println!("  {what}: {a:.0} / {b:.0} = {:.3}", a / b);
        ratios.push(a / b);
        first.push(a);
        second.push(b);
    }
    let [ratios, first, second] = [ratios, first, second].map(|mut values| {
        values.sort_by(f64::total_cmp);
        [0.25, 0.5, 0.75].map(|part| values[((values.len() - 1) as f64 * part).round() as usize])
    });
    println!(
        "{what}: median {:.3}, quartiles {:.3} to {:.3}; medians {:.0} / {:.0}",
        ratios[1], ratios[0], ratios[2], first[1], second[1]
    );
}

//! How well a text answers a search term: 0 = not at all, 1 = as well as can be.
//!
//! Both scores are Prometheus' own, so that a list sorted by them has Prometheus' order. Characters are counted, not
//! bytes.

/// Which texts are taken when a term does not stand in them as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// The term's characters stand in the text in their order, however far apart.
    Subsequence,
    /// The texts are alike (Jaro and Winkler's measure); what contains the term is taken before.
    JaroWinkler,
}

/// All of them, with the names that requests use.
pub(crate) const ALGORITHMS: [(&str, Algorithm); 2] =
    [("subsequence", Algorithm::Subsequence), ("jarowinkler", Algorithm::JaroWinkler)];

/// What texts are tested by: those that answer one of the terms are taken. Without a term all are.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    terms: Vec<Vec<char>>,
    algorithm: Algorithm,
    /// The least score that is taken of a text that does not contain the term.
    threshold: f64,
    fold_case: bool,
}

impl Filter {
    /// `threshold` is from 0 to 1.
    pub(super) fn new<'a>(
        terms: impl Iterator<Item = &'a str>,
        algorithm: Algorithm,
        threshold: f64,
        fold_case: bool,
    ) -> Self {
        let term = |term: &str| characters(term, fold_case);
        let terms = terms.filter(|term| !term.is_empty()).map(term).collect();
        Self { terms, algorithm, threshold, fold_case }
    }

    /// The best score of any term; `None` when the text is not taken.
    pub(super) fn score(&self, text: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let text = characters(text, self.fold_case);
        self.terms.iter().filter_map(|term| self.score_of(term, &text)).max_by(f64::total_cmp)
    }

    fn score_of(&self, term: &[char], text: &[char]) -> Option<f64> {
        match self.algorithm {
            Algorithm::Subsequence if text.starts_with(term) => Some(1.0),
            Algorithm::Subsequence => {
                Some(subsequence(term, text)).filter(|score| *score > 0.0 && *score >= self.threshold)
            }
            Algorithm::JaroWinkler => position(term, text).or_else(|| {
                let score = jaro_winkler(term, text);
                (self.threshold > 0.0 && score >= self.threshold).then_some(score)
            }),
        }
    }
}

fn characters(text: &str, fold_case: bool) -> Vec<char> {
    if fold_case { text.to_lowercase().chars().collect() } else { text.chars().collect() }
}

/// The score of a text that contains the term: the nearer to the beginning the better, down to 0.1 at the end.
fn position(term: &[char], text: &[char]) -> Option<f64> {
    let last = text.len().checked_sub(term.len())?;
    let found = (0..=last).find(|at| text[*at..].starts_with(term))?;
    Some(if found == 0 { 1.0 } else { 1.0 - 0.9 * found as f64 / last as f64 })
}

/// Runs of consecutive characters count by their squares, gaps against them by their part of the text, the one behind
/// the last run half. Of all places where the term may begin the best counts; from there on each character is taken
/// where it comes first. Anything but equality stays a little below 1.
fn subsequence(term: &[char], text: &[char]) -> f64 {
    const NOT_EQUAL: f64 = 0.999;
    if term == text {
        return 1.0;
    }
    let Some(last) = text.len().checked_sub(term.len()) else { return 0.0 };
    let mut best = -1.0f64;
    for start in (0..=last).filter(|start| text[*start] == term[0]) {
        match runs(term, text, start) {
            Some(score) => best = best.max(score),
            // Nor can it be found further on.
            None => break,
        }
    }
    if best < 0.0 { 0.0 } else { best / (term.len() * term.len()) as f64 * NOT_EQUAL }
}

/// The sum of one way to find the term, not before `start`.
fn runs(term: &[char], text: &[char], start: usize) -> Option<f64> {
    let length = text.len() as f64;
    let (mut score, mut taken, mut at) = (0.0, 0, start);
    // One past the last run.
    let mut end = 0;
    while taken < term.len() {
        let begin = at + text[at..].iter().position(|c| *c == term[taken])?;
        at = begin;
        while taken < term.len() && text.get(at) == Some(&term[taken]) {
            (at, taken) = (at + 1, taken + 1);
        }
        let run = (at - begin) as f64;
        score += run * run - (begin - end) as f64 / length;
        end = at;
    }
    Some(score - (text.len() - end) as f64 / length * 0.5)
}

/// The share of characters that both have in about the same place, those in another order counted half, raised for up to
/// four equal characters at the beginning.
fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    const PREFIX_MAX: usize = 4;
    const PREFIX_WEIGHT: f64 = 0.1;
    if a == b {
        return 1.0;
    }
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let reach = (long.len() / 2).saturating_sub(1);
    let mut is_taken = vec![false; long.len()];
    let mut of_short = Vec::new();
    for (at, c) in short.iter().enumerate() {
        let near = at.saturating_sub(reach)..(at + reach + 1).min(long.len());
        if let Some(found) = near.clone().find(|found| !is_taken[*found] && long[*found] == *c) {
            is_taken[found] = true;
            of_short.push(*c);
        }
    }
    if of_short.is_empty() {
        return 0.0;
    }
    let of_long = long.iter().zip(&is_taken).filter(|(_, taken)| **taken).map(|(c, _)| *c);
    let moved = of_short.iter().zip(of_long).filter(|(a, b)| *a != b).count() as f64;
    let common = of_short.len() as f64;
    let jaro =
        (common / short.len() as f64 + common / long.len() as f64 + (common - moved * 0.5) / common) / 3.0;
    let prefix = short.iter().zip(long).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * PREFIX_WEIGHT * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    /// Worked out by hand from the rules above.
    #[test]
    fn subsequences_score_by_runs_and_gaps() {
        let score = |term: &str, text: &str| subsequence(&chars(term), &chars(text));
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        assert_eq!(score("abc", "abc"), 1.0);
        // One run of 3 behind a gap of 1, of 4 characters.
        near(score("abc", "xabc"), (9.0 - 0.25) / 9.0 * 0.999);
        // Runs of 1 and 2, a gap of 1 and one of 1 at the end, of 5 characters.
        near(score("abc", "axbcx"), (1.0 + 4.0 - 0.2 - 0.1) / 9.0 * 0.999);
        // The second place to begin at is the better one.
        near(score("ab", "a_ab"), (4.0 - 2.0 / 4.0) / 4.0 * 0.999);
        assert_eq!((score("abc", "acb"), score("abc", "ab"), score("abc", "")), (0.0, 0.0, 0.0));
    }

    /// The pairs with which the measure was published (Winkler 1990).
    #[test]
    fn alike_texts_score_as_published() {
        for (a, b, wanted) in [
            ("MARTHA", "MARHTA", 0.9611),
            ("DWAYNE", "DUANE", 0.84),
            ("DIXON", "DICKSONX", 0.8133),
            ("same", "same", 1.0),
            ("abc", "xyz", 0.0),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let found = jaro_winkler(&chars(a), &chars(b));
                assert!((found - wanted).abs() < 5e-5, "{a} {b}: {found}");
            }
        }
    }

    #[test]
    fn one_term_is_enough_and_none_takes_all() {
        use Algorithm::{JaroWinkler, Subsequence};
        let filter = |terms: &[&'static str], algorithm, threshold, fold| {
            Filter::new(terms.iter().copied(), algorithm, threshold, fold)
        };
        assert_eq!(filter(&[], Subsequence, 0.9, false).score("anything"), Some(1.0));
        assert_eq!(filter(&[""], JaroWinkler, 0.9, false).score("anything"), Some(1.0));
        let either = filter(&["http", "node"], Subsequence, 0.0, false);
        assert_eq!(either.score("node_cpu"), Some(1.0));
        assert!(either.score("the_long_http_path").is_some_and(|score| score < 1.0));
        assert_eq!(either.score("go_gc"), None);
        assert_eq!(filter(&["htp"], Subsequence, 0.99, false).score("x_http"), None);
        assert_eq!(filter(&["HTTP"], Subsequence, 0.0, false).score("http_x"), None);
        assert_eq!(filter(&["HTTP"], Subsequence, 0.0, true).score("Http_x"), Some(1.0));
        let contains = filter(&["cpu"], JaroWinkler, 0.0, false);
        assert_eq!(contains.score("cpu_seconds"), Some(1.0));
        assert_eq!(contains.score("node_cpu"), Some(1.0 - 0.9));
        assert_eq!((contains.score("cpx"), contains.score("cp")), (None, None));
        assert!(filter(&["cpu"], JaroWinkler, 0.8, false).score("cpx").is_some());
    }
}

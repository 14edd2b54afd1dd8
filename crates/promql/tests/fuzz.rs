//! The seeded twin of the fuzz target `promql`: expressions with bytes changed, cut, doubled and put together.

use promql::exercise::expression;

/// Expressions that together have every construct.
const SEEDS: &[&str] = &[
    "sum by (job, \"a.b\") (rate(m{job=~\"a|b\",n!=\"0\"}[5m] offset 1m)) / on (job) group_left (n) m @ 300",
    "histogram_quantile(0.9, sum without (n) (rate(h[5m])))",
    "histogram_quantile(0.5, rate(m_bucket[10m:1m] @ end()))",
    "label_replace(m, \"x\", \"$1-${name}\", \"job\", \"(?P<name>.)\") or label_join(m, \"y\", \"-\", \"job\", \"n\")",
    "topk(2, m) unless bottomk by (job) (1, m > bool 3) and on () vector(time())",
    "quantile_over_time(scalar(m{n=\"1\"}), m[5m + 2 * (1m - 30s)]) ^ -2 % 7 atan2 1",
    "avg_over_time(m[step() + range() + 1]) * -(start() - end()) + 0x1F + 1e-3 + .5 + NaN",
    "count_values(\"v\", m) or limitk(1, m) or limit_ratio(-0.5, m)",
    "increase(m[5m] anchored) + fill(0) rate(m[5m] smoothed) - fill_left(1) fill_right(2) m",
    "h </ 2 or h >/ -1 or histogram_quantiles(h, \"q\", 0.1, 0.9) or info(m, {data=~\".+\"})",
    "{\"m\", job=`b`, __name__!~\"x.*\"}[5m:] # remark",
    "max_over_time(predict_linear(m[5m], 3600)[10m:1m]) >= ignoring (n) group_right m",
    "absent_over_time(x{a=\"b\"}[1h]) or sort_desc(m) or timestamp(m) or day_of_week()",
    "\"text \\u00e9 \\xff\\n\"",
];

#[test]
fn expressions_with_accidents() {
    let mut state = 0x5eed_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    let alphabet = b"()[]{},\"'`:@+-*/%^=!<>~#.0123456789 meanst_$\\\n\x00\xff";
    for seed in SEEDS {
        promql::parse_with(seed, &promql::Syntax::all()).unwrap_or_else(|error| panic!("{seed}: {error}"));
        expression(seed.as_bytes());
    }
    for _ in 0..30_000 {
        let mut bytes = SEEDS[below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..below(4) + 1 {
            let at = below(bytes.len());
            match below(6) {
                0 if !bytes.is_empty() => bytes[at] = alphabet[below(alphabet.len())],
                1 => bytes.insert(at, alphabet[below(alphabet.len())]),
                2 if !bytes.is_empty() => {
                    let end = (at + 1 + below(6)).min(bytes.len());
                    bytes.drain(at..end);
                }
                3 => bytes.truncate(at),
                4 => {
                    let other = SEEDS[below(SEEDS.len())].as_bytes();
                    let from = below(other.len());
                    bytes.splice(at..at, other[from..(from + below(24)).min(other.len())].iter().copied());
                }
                _ => {
                    let end = (at + below(16)).min(bytes.len());
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        expression(&bytes);
    }
}

//! An expression as a tree in one vector.
//!
//! Nodes name their children by index and always stand behind them. So a chain of 20,000 additions is a vector, not
//! a recursion: it is dropped, cloned, checked and planned by plain loops, and every pass from the leaves upward is a
//! walk from the first node to the last.

use model::Matcher;

use crate::functions::Function;

/// Where a piece of text stands in the query, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A node's place in its [`Expr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The four types of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number for each step.
    Scalar,
    /// A string.
    String,
    /// At most one sample of each series for each step.
    Vector,
    /// A range of samples of each series.
    Matrix,
}

impl ValueType {
    /// As Prometheus' documentation and messages call it.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As the `resultType` of an answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// A parsed and type-checked expression.
#[derive(Clone, Debug)]
pub struct Expr {
    pub(crate) text: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

/// A node: what it is and where it stood.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stood.
    pub span: Span,
    /// The type of its value.
    pub value_type: ValueType,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `1.5`, `0x1f`, or a duration used as a number (`5m` is 300).
    Number {
        /// The value, seconds for a duration.
        value: f64,
        /// Whether it was written as a duration.
        duration: bool,
    },
    /// A string literal; its escapes can make it any bytes.
    String(Vec<u8>),
    /// `( … )`
    Paren(NodeId),
    /// `-x`, `+x`
    Unary {
        /// Whether the sign is `-`.
        negative: bool,
        /// What is signed.
        expr: NodeId,
    },
    /// `a + b` and the like.
    Binary(Box<Binary>),
    /// `sum by (job) (x)` and the like.
    Aggregate(Box<Aggregate>),
    /// `rate(x[5m])` and the like.
    Call {
        /// Which function.
        function: &'static Function,
        /// Its arguments.
        args: Vec<NodeId>,
    },
    /// `up{job="x"} offset 5m`
    Vector(Box<VectorSelector>),
    /// `up[5m]`; offset and `@` stand at the selector.
    Matrix {
        /// The instant selector.
        selector: NodeId,
        /// The window.
        range: Length,
    },
    /// `expr[1h:1m]`
    Subquery(Box<Subquery>),
    /// Part of a duration expression: `5m * 2`.
    Duration(DurationOp),
}

/// A length of time, as written: fixed, or an expression that the query's step and range decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Milliseconds.
    Millis(i64),
    /// A node of kind [`Kind::Duration`].
    Expression(NodeId),
}

/// An operation within a duration expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DurationOp {
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-x`
    Negate(NodeId),
    /// `( x )`
    Paren(NodeId),
    /// `a * b`
    Arithmetic(BinaryOp, NodeId, NodeId),
    /// `min_of(a, b)`
    MinOf(NodeId, NodeId),
    /// `max_of(a, b)`
    MaxOf(NodeId, NodeId),
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`, in ms.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How a range selector treats its ends (experimental).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Edge {
    /// Only samples inside.
    #[default]
    Plain,
    /// `anchored`: the last sample at or before the start stands for the start.
    Anchored,
    /// `smoothed`: the values at both ends are interpolated.
    Smoothed,
}

/// `up{job="x"} @ 5 offset 5m`
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name outside of the braces.
    pub name: Option<String>,
    /// All matchers, the one for `name` last.
    pub matchers: Vec<Matcher>,
    /// The `@` modifier.
    pub at: Option<At>,
    /// The offset; positive = into the past.
    pub offset: Option<Length>,
    /// `anchored` or `smoothed`.
    pub edge: Edge,
    /// The label selector of `info()`, whose matchers may all match the empty string.
    pub may_match_empty: bool,
}

/// `expr[range:step] @ at offset offset`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each sub-step.
    pub expr: NodeId,
    /// The window.
    pub range: Length,
    /// Distance of the sub-steps; `None` = the default.
    pub step: Option<Length>,
    /// The `@` modifier.
    pub at: Option<At>,
    /// The offset; positive = into the past.
    pub offset: Option<Length>,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `>`
    Gt,
    /// `<=`
    Le,
    /// `>=`
    Ge,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Mod,
        Self::Pow,
        Self::Atan2,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Gt,
        Self::Le,
        Self::Ge,
        Self::TrimUpper,
        Self::TrimLower,
        Self::And,
        Self::Or,
        Self::Unless,
    ];

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Gt => ">",
            Self::Le => "<=",
            Self::Ge => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// How tightly it binds.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Lt | Self::Gt | Self::Le | Self::Ge => 3,
            Self::TrimUpper | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Gt | Self::Le | Self::Ge)
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether the result is another quantity, so that the metric's name no longer fits.
    pub(crate) fn changes_meaning(self) -> bool {
        use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
        matches!(self, Add | Sub | Mul | Div | Mod | Pow | Atan2)
    }
}

/// How many series of one side may match one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// The default.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// `on (…) group_left (…) fill (0)`
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// How many match.
    pub cardinality: Cardinality,
    /// `on` (else `ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels that the many side takes from the one side.
    pub include: Vec<String>,
    /// Stands for a missing left side.
    pub fill_left: Option<f64>,
    /// Stands for a missing right side.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left operand.
    pub left: NodeId,
    /// Right operand.
    pub right: NodeId,
    /// `bool`: comparisons give 0 or 1.
    pub return_bool: bool,
    /// Only between two vectors.
    pub matching: Option<Matching>,
}

/// Which aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

/// What is known of each aggregation: its name, whether it takes a parameter, whether it is experimental.
const AGGREGATIONS: [(AggregateOp, &str, bool, bool); 14] = [
    (AggregateOp::Sum, "sum", false, false),
    (AggregateOp::Avg, "avg", false, false),
    (AggregateOp::Count, "count", false, false),
    (AggregateOp::Min, "min", false, false),
    (AggregateOp::Max, "max", false, false),
    (AggregateOp::Group, "group", false, false),
    (AggregateOp::Stddev, "stddev", false, false),
    (AggregateOp::Stdvar, "stdvar", false, false),
    (AggregateOp::Topk, "topk", true, false),
    (AggregateOp::Bottomk, "bottomk", true, false),
    (AggregateOp::CountValues, "count_values", true, false),
    (AggregateOp::Quantile, "quantile", true, false),
    (AggregateOp::Limitk, "limitk", true, true),
    (AggregateOp::LimitRatio, "limit_ratio", true, true),
];

impl AggregateOp {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        AGGREGATIONS.iter().map(|row| row.0)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        AGGREGATIONS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn row(self) -> &'static (AggregateOp, &'static str, bool, bool) {
        // Every variant has a row; the first one stands in for the impossible.
        AGGREGATIONS.iter().find(|row| row.0 == self).unwrap_or(&AGGREGATIONS[0])
    }

    /// As written.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// Whether it has a parameter in front of its vector.
    pub fn takes_param(self) -> bool {
        self.row().2
    }

    /// Whether upstream keeps it behind a flag.
    pub fn is_experimental(self) -> bool {
        self.row().3
    }

    /// Whether it keeps some of its series as they are, in an order of its own.
    pub(crate) fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: NodeId,
    /// `k`, `q` or the label of `count_values`.
    pub param: Option<NodeId>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// `without` (else `by`).
    pub without: bool,
}

impl Expr {
    /// The node that the whole expression is.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        self.type_of(self.root)
    }

    /// The type of a node's value.
    pub(crate) fn type_of(&self, id: NodeId) -> ValueType {
        self.node(id).value_type
    }

    /// The node inside of any parentheses.
    pub(crate) fn unwrap(&self, mut id: NodeId) -> NodeId {
        while let Kind::Paren(inner) = self.node(id).kind {
            id = inner;
        }
        id
    }

    /// The nodes right below a node, in the order in which they stand; those of duration expressions are not among them.
    pub(crate) fn children(&self, id: NodeId) -> Vec<NodeId> {
        match &self.node(id).kind {
            Kind::Paren(inner) | Kind::Unary { expr: inner, .. } | Kind::Matrix { selector: inner, .. } => {
                vec![*inner]
            }
            Kind::Binary(binary) => vec![binary.left, binary.right],
            Kind::Aggregate(aggregate) => aggregate.param.into_iter().chain([aggregate.expr]).collect(),
            Kind::Call { args, .. } => args.clone(),
            Kind::Subquery(subquery) => vec![subquery.expr],
            Kind::Number { .. } | Kind::String(_) | Kind::Vector(_) | Kind::Duration(_) => Vec::new(),
        }
    }

    /// All selectors, in the order in which they stand.
    pub fn selectors(&self) -> impl Iterator<Item = &VectorSelector> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::Vector(selector) => Some(selector.as_ref()),
            _ => None,
        })
    }

    /// `line:column` of a byte, both from 1; columns count bytes.
    pub(crate) fn position(&self, byte: usize) -> String {
        position(&self.text, byte)
    }
}

/// `line:column` of a byte of `text`, both from 1; columns count bytes.
pub(crate) fn position(text: &str, byte: usize) -> String {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    format!("{line}:{}", before.len() - line_start + 1)
}

/// The same tree, wherever it stood: spans and text do not count.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(a, b)| a.kind == b.kind)
    }
}

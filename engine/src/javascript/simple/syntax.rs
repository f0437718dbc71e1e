//! What a program consists of.

/// A function that can be run here.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::javascript) struct Program {
    /// Names of the document's members that are looked at.
    pub(super) fields: Vec<String>,
    /// How many variables there are.
    pub(super) slots: usize,
    pub(super) body: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    Expression(Expression),
    /// Gives a value to a variable.
    Set(usize, Expression),
    If {
        condition: Expression,
        then: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    Loop {
        begin: Vec<Statement>,
        condition: Option<Expression>,
        step: Vec<Statement>,
        body: Vec<Statement>,
    },
    /// `array.forEach(function(item, index) { body })`; `locals` are the variables of the function.
    ForEach {
        array: Expression,
        item: Option<usize>,
        index: Option<usize>,
        locals: Vec<usize>,
        body: Vec<Statement>,
    },
    Return,
    Break,
    Continue,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    /// The document.
    Document,
    /// A member of the document, by its place in [`Program::fields`].
    Field(usize),
    /// A variable.
    Slot(usize),
    Member(Box<Expression>, String),
    Item(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    TypeOf(Box<Expression>),
    Negative(Box<Expression>),
    Binary(Operator, Box<[Expression; 2]>),
    And(Box<[Expression; 2]>),
    Or(Box<[Expression; 2]>),
    /// `a ? b : c`
    Choice(Box<[Expression; 3]>),
    Array(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    IsArray(Box<Expression>),
    Emit(Box<[Expression; 2]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Same,
    NotSame,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

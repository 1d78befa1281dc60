"""What the generated C brings along: functions of numbers that C99 lacks, and elimination."""

from __future__ import annotations

# In the order in which they are written, each after what it calls.
ROUTINES = {
    "sign": "static double sign(double x)\n{\n    return (x > 0) - (x < 0);\n}\n",
    "softplus": (
        "/* log(1 + exp(x)) that does not overflow */\n"
        "static double softplus(double x)\n{\n    return fmax(x, 0.0) + log1p(exp(-fabs(x)));\n}\n"
    ),
    "sigmoid": "static double sigmoid(double x)\n{\n    return 1.0 / (1.0 + exp(-x));\n}\n",
    # Abramowitz and Stegun (1964), 6.3.5, 6.3.18, 6.4.6 and 6.4.12: by recurrence to large x, then the series.
    "digamma": """\
static double digamma(double x)
{
    double below = 0.0;
    while (x < 10.0)
        below += 1.0 / x++;
    const double s = 1.0 / (x * x);
    return log(x) - 0.5 / x - s * (1.0 / 12 - s * (1.0 / 120 - s * (1.0 / 252 - s * (1.0 / 240 - s / 132)))) - below;
}
""",
    "trigamma": """\
static double trigamma(double x)
{
    double below = 0.0;
    while (x < 10.0) {
        below += 1.0 / (x * x);
        x += 1.0;
    }
    const double s = 1.0 / (x * x);
    return below + 1.0 / x + 0.5 * s
        + s / x * (1.0 / 6 - s * (1.0 / 30 - s * (1.0 / 42 - s * (1.0 / 30 - s * (5.0 / 66)))));
}
""",
    "cholesky": """\
static void cholesky(long n, const double *a, double *x)
{
    for (long i = 0; i < n; i++)
        for (long j = 0; j < n; j++) {
            double rest = a[i * n + j];
            for (long k = 0; k < (i < j ? i : j); k++)
                rest -= x[i * n + k] * x[j * n + k];
            x[i * n + j] = i < j ? 0.0 : i == j ? sqrt(rest) : rest / x[j * n + j];
        }
}
""",
    "eliminate": """\
/* Gaussian elimination with partial pivoting: b becomes the solution of a x = b for its k columns, a is destroyed.
   Gives the determinant, and the logarithm of its magnitude. */
static double eliminate(long n, long k, double *a, double *b, double *logarithm)
{
    double determinant = 1.0;
    *logarithm = 0.0;
    for (long c = 0; c < n; c++) {
        long pivot = c;
        for (long i = c + 1; i < n; i++)
            if (fabs(a[i * n + c]) > fabs(a[pivot * n + c]))
                pivot = i;
        if (pivot != c) {
            determinant = -determinant;
            for (long j = c; j < n; j++) {
                const double t = a[c * n + j];
                a[c * n + j] = a[pivot * n + j];
                a[pivot * n + j] = t;
            }
            for (long j = 0; j < k; j++) {
                const double t = b[c * k + j];
                b[c * k + j] = b[pivot * k + j];
                b[pivot * k + j] = t;
            }
        }
        determinant *= a[c * n + c];
        *logarithm += log(fabs(a[c * n + c]));
        for (long i = c + 1; i < n; i++) {
            const double factor = a[i * n + c] / a[c * n + c];
            for (long j = c + 1; j < n; j++)
                a[i * n + j] -= factor * a[c * n + j];
            for (long j = 0; j < k; j++)
                b[i * k + j] -= factor * b[c * k + j];
        }
    }
    for (long c = n - 1; c >= 0; c--)
        for (long j = 0; j < k; j++) {
            for (long i = c + 1; i < n; i++)
                b[c * k + j] -= a[c * n + i] * b[i * k + j];
            b[c * k + j] /= a[c * n + c];
        }
    return determinant;
}
""",
    "solve": """\
static void solve(long n, long k, const double *a, const double *b, double *x, double *work)
{
    double logarithm;
    for (long i = 0; i < n * n; i++)
        work[i] = a[i];
    for (long i = 0; i < n * k; i++)
        x[i] = b[i];
    eliminate(n, k, work, x, &logarithm);
}
""",
    "inv": """\
static void inv(long n, const double *a, double *x, double *work)
{
    double logarithm;
    for (long i = 0; i < n * n; i++) {
        work[i] = a[i];
        x[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
    }
    eliminate(n, n, work, x, &logarithm);
}
""",
    "det": """\
static double det(long n, const double *a, double *work)
{
    double logarithm;
    for (long i = 0; i < n * n; i++)
        work[i] = a[i];
    return eliminate(n, 0, work, work, &logarithm);
}
""",
    "logdet": """\
static double logdet(long n, const double *a, double *work)
{
    double logarithm;
    for (long i = 0; i < n * n; i++)
        work[i] = a[i];
    eliminate(n, 0, work, work, &logarithm);
    return logarithm;
}
""",
}

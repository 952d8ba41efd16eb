"""Charts and tables as data, as E2B's clients read them: what a figure of matplotlib shows, beside its picture, and the columns of a
frame of pandas, beside its HTML.  For the kernel, which calls `install`.

The kinds of charts and their fields are those of `@e2b/code-interpreter`'s types (charts.d.ts).  What is none of these kinds is a
chart of type `unknown` without elements.
"""
import decimal
import math
import re

CHART, DATA = "e2b/chart", "e2b/data"
POINTS_MAX = 50_000  # of a line or group; a figure with more is its picture alone
CELLS_MAX = 50_000  # of a frame, likewise
SCALES = {"linear", "datetime", "categorical", "log", "symlog", "logit", "function", "functionlog", "asinh"}


class TooMuch(Exception):
    """More than a client would want to have as JSON."""


def plain(value):
    """A value of numpy's, pandas' or Python's as JSON has it."""
    if hasattr(value, "isoformat"):  # dates and times; pandas' NaT is none
        return None if value != value else value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, decimal.Decimal)):
        return float(value) if math.isfinite(value) else None
    return str(value)


# ---- axes ----

def unit_of(label):
    """"Time (s)" is in s."""
    found = re.search(r"\(([^()]+)\)\s*$", label)
    return found.group(1).strip() if found else None


def is_of_periods(axis):
    """Pandas' own way of drawing what is regular in time."""
    return getattr(axis, "freq", None) is not None


def is_of_dates(axis):
    # Matplotlib's converter, or pandas' of the same name.
    return is_of_periods(axis) or type(axis.converter).__name__ in ("_SwitchableDateConverter", "DateConverter", "DatetimeConverter")


def categories_of(axis):
    """{position: name}, if it has names in place of numbers."""
    mapping = getattr(axis.units, "_mapping", None)
    return {position: name for name, position in mapping.items()} if mapping else {}


def scale_of(axis):
    if is_of_dates(axis):
        return "datetime"
    if categories_of(axis):
        return "categorical"
    return axis.get_scale() if axis.get_scale() in SCALES else "unknown"


def position(axis, value):
    """A number that matplotlib draws by, in the axis' own words."""
    if is_of_periods(axis):
        from pandas import Period
        return Period(ordinal=round(value), freq=axis.freq).to_timestamp().isoformat()
    if is_of_dates(axis):
        from matplotlib.dates import num2date
        return num2date(value).replace(tzinfo=None).isoformat()
    name = categories_of(axis).get(value)
    return plain(value) if name is None else str(name)


def ticks_of(axis):
    """Their positions and their labels, of those in view."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    return ticks, [str(label).replace("\N{MINUS SIGN}", "-") for label in axis.get_major_formatter().format_ticks(ticks)]


def described(axes, of_points):
    """What a chart says of its axes."""
    said = {}
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        label = axis.get_label_text()
        said.update({f"{name}_label": label or None, f"{name}_unit": unit_of(label)})
        if of_points:
            ticks, labels = ticks_of(axis)
            said.update({f"{name}_ticks": [position(axis, tick) for tick in ticks], f"{name}_tick_labels": labels, f"{name}_scale": scale_of(axis)})
    return said


# ---- what is in them ----

def named(label):
    """Matplotlib's own names of what has none begin so."""
    return "" if not label or label.startswith("_") else str(label)


def points(axes, label, pairs):
    if len(pairs) > POINTS_MAX:
        raise TooMuch()
    return {"label": named(label), "points": [[position(axes.xaxis, x), position(axes.yaxis, y)] for x, y in pairs]}


def line_chart(axes):
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 0]
    return "line", [points(axes, line.get_label(), line.get_xydata()) for line in lines]


def scatter_chart(axes):
    from matplotlib.collections import PathCollection
    groups = [group for group in axes.collections if isinstance(group, PathCollection)]
    return "scatter", [points(axes, group.get_label(), group.get_offsets()) for group in groups]


def label_at(axis, middle):
    """What a bar is called: as the tick nearest to it, if ticks have names."""
    from matplotlib.ticker import ScalarFormatter
    ticks, labels = ticks_of(axis)
    if not ticks or (isinstance(axis.get_major_formatter(), ScalarFormatter) and not is_of_dates(axis)):
        return f"{middle:g}"
    return labels[min(range(len(ticks)), key=lambda i: abs(ticks[i] - middle))]


def bar_chart(axes):
    elements = []
    for group in bars_of(axes):
        across = group.orientation == "horizontal"
        for bar in group:
            middle = bar.get_y() + bar.get_height() / 2 if across else bar.get_x() + bar.get_width() / 2
            elements.append({"label": label_at(axes.yaxis if across else axes.xaxis, middle), "group": named(group.get_label()),
                             "value": plain(bar.get_width() if across else bar.get_height())})
    return "bar", elements


def bars_of(axes):
    from matplotlib.container import BarContainer
    return [group for group in axes.containers if isinstance(group, BarContainer)]


def wedges_of(axes):
    from matplotlib.patches import Wedge
    return [patch for patch in axes.patches if isinstance(patch, Wedge)]


def pie_chart(axes):
    return "pie", [{"label": named(wedge.get_label()), "angle": plain(wedge.theta2 - wedge.theta1), "radius": plain(wedge.r)} for wedge in wedges_of(axes)]


def boxes_of(axes):
    """What was drawn of them, and not removed since."""
    return [box for box in getattr(axes, "flotilla_boxes", ()) if box["drawn"] in axes.lines]


def box_chart(axes):
    elements = []
    for box in boxes_of(axes):
        label = box.get("label") or label_at(axes.xaxis if box["is_upright"] else axes.yaxis, box["place"])
        elements.append({"label": str(label), "min": plain(box["whislo"]), "first_quartile": plain(box["q1"]), "median": plain(box["med"]),
                         "third_quartile": plain(box["q3"]), "max": plain(box["whishi"]), "outliers": [plain(value) for value in box.get("fliers", ())]})
    return "box_and_whisker", elements


def content_of(axes):
    from matplotlib.collections import PathCollection
    if boxes_of(axes):
        return box_chart(axes)
    if wedges_of(axes):
        return pie_chart(axes)
    if bars_of(axes):
        return bar_chart(axes)
    # A line through points is drawn for the eye: what it is of are the points.
    if any(isinstance(group, PathCollection) for group in axes.collections):
        return scatter_chart(axes)
    return line_chart(axes) if axes.get_lines() else ("unknown", [])


def chart_of_axes(axes):
    kind, elements = content_of(axes)
    chart = {"type": kind, "title": axes.get_title() or None, "elements": elements}
    if kind not in ("pie", "unknown"):
        chart.update(described(axes, kind in ("line", "scatter")))
    return chart


def chart_of(figure):
    """None when there is nothing in it."""
    charts = [chart_of_axes(axes) for axes in figure.axes if axes.has_data()]
    if len(charts) < 2:
        return charts[0] if charts else None
    return {"type": "superchart", "title": figure._suptitle.get_text() if figure._suptitle else None, "elements": charts}


def data_of(frame):
    """{column: [value]}."""
    if frame.size > CELLS_MAX:
        raise TooMuch()
    return {str(name): [plain(value) for value in frame.iloc[:, i]] for i, name in enumerate(frame.columns)}


# ---- into the kernel ----

def remember_boxes():
    """What a box plot is of can be told from its lines by nobody; so it is kept when it is drawn."""
    from matplotlib.axes import Axes
    drawn = Axes.bxp

    def bxp(self, bxpstats, positions=None, widths=None, vert=True, *words, **more):
        lines = drawn(self, bxpstats, positions, widths, vert, *words, **more)
        places = positions if positions is not None else range(1, len(bxpstats) + 1)
        self.flotilla_boxes = boxes_of(self) + [{**box, "place": place, "is_upright": vert, "drawn": line}
                                                for box, place, line in zip(bxpstats, places, lines["medians"])]
        return lines

    Axes.bxp = bxp


def quietly(make):
    """What cannot be told is shown as ever; nobody asked for this."""
    def made(shown):
        try:
            return make(shown)
        except Exception:
            return None
    return made


def install():
    from IPython import get_ipython
    from IPython.core.formatters import BaseFormatter
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from traitlets import ObjectName, Unicode

    def add(kind, of, make):
        method = "_repr_" + kind.replace("/", "_") + "_"

        class Formatter(BaseFormatter):
            format_type = Unicode(kind)
            print_method = ObjectName(method)
            _return_type = dict

        display = get_ipython().display_formatter
        display.formatters[kind] = Formatter(parent=display)
        # A method, and not a printer of the formatter's: matplotlib takes all of these away from figures when it is first used.
        setattr(of, method, quietly(make))

    add(CHART, Figure, chart_of)
    add(DATA, DataFrame, data_of)
    remember_boxes()

"""Drives E2B's e2b-code-interpreter of PyPI, unmodified."""
import base64
import os
import sys

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
from fleet import run_tests  # noqa: E402
from e2b_code_interpreter import Sandbox, charts  # noqa: E402

sandbox = None


def python_results_errors_and_streams():
    execution = sandbox.run_code("print('out'); 6 * 7")
    assert execution.text == "42" and "".join(execution.logs.stdout) == "out\n", execution
    error = sandbox.run_code("nothing").error
    assert error.name == "NameError" and "nothing" in error.value, error


def python_plots():
    results = sandbox.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()").results
    assert base64.b64decode(results[0].png)[1:4] == b"PNG", results


def python_charts():
    def chart(code):
        return sandbox.run_code(f"import matplotlib.pyplot as plt\n{code}\nplt.show()").results[0].chart
    bars = chart("plt.bar(['u', 'v'], [1, 2])")
    assert isinstance(bars, charts.BarChart) and [(bar.label, bar.value) for bar in bars.elements] == [("u", 1), ("v", 2)], bars
    several = chart("_, all = plt.subplots(2, 2)\nall[0][0].plot([1]); all[0][1].scatter([1], [2]); all[1][0].pie([1]); all[1][1].boxplot([1, 2])")
    assert [type(one) for one in several.elements] == [charts.LineChart, charts.ScatterChart, charts.PieChart, charts.BoxAndWhiskerChart], several


def python_contexts():
    context = sandbox.create_code_context(cwd="/tmp")
    assert sandbox.run_code("import os; os.getcwd()", context=context).text == "/tmp"
    assert context.id in [other.id for other in sandbox.list_code_contexts()]
    sandbox.restart_code_context(context)
    sandbox.remove_code_context(context)
    assert context.id not in [other.id for other in sandbox.list_code_contexts()]


def python_drives_other_languages():
    assert sandbox.run_code("[1, 2].map(n => n * 2)", language="js").text == "[ 2, 4 ]"
    assert "".join(sandbox.run_code("echo $((6 * 7))", language="bash").logs.stdout) == "42\n"
    error = sandbox.run_code("let n: = 1", language="ts").error
    assert error.name == "SyntaxError", error


sandbox = Sandbox.create(timeout=300)
try:
    run_tests([python_results_errors_and_streams, python_plots, python_charts, python_contexts, python_drives_other_languages])
finally:
    sandbox.kill()

